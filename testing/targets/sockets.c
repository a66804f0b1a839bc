#include "sockets.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 512

static int fail(int fd, const char *what)
{
	perror(what);
	if (fd >= 0)
		close(fd);
	return -1;
}

int connect_tcp(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *addr;
	int fd, error;

	error = getaddrinfo(host, port, &hints, &addr);
	if (error) {
		fprintf(stderr, "%s: %s\n", host, gai_strerror(error));
		return -1;
	}
	fd = socket(addr->ai_family, SOCK_STREAM, 0);
	error = fd < 0 || connect(fd, addr->ai_addr, addr->ai_addrlen);
	freeaddrinfo(addr);
	return error ? fail(fd, "connect") : fd;
}

static int unix_address(struct sockaddr_un *addr, const char *path)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(addr->sun_path)) {
		fprintf(stderr, "%s: too long for a unix socket\n", path);
		return -1;
	}
	strcpy(addr->sun_path, path);
	return 0;
}

int connect_unix(const char *path)
{
	struct sockaddr_un addr;
	int fd;

	if (unix_address(&addr, path))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fail(fd, path);
	return fd;
}

int listen_tcp(unsigned short port)
{
	struct sockaddr_in6 addr = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(port),
	};
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	int on = 1, off = 0;

	if (fd < 0)
		return fail(fd, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, BACKLOG))
		return fail(fd, "listen");
	return fd;
}

int listen_unix(const char *path)
{
	struct sockaddr_un addr;
	int fd;

	if (unix_address(&addr, path))
		return -1;
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, BACKLOG))
		return fail(fd, path);
	return fd;
}

unsigned short local_port(int fd)
{
	struct sockaddr_in6 addr = { 0 };
	socklen_t len = sizeof(addr);

	getsockname(fd, (struct sockaddr *)&addr, &len);
	return ntohs(addr.sin6_port);
}

void set_nonblocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

bool wait_for(int fd, short events, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };

	return poll(&poll_fd, 1, timeout_ms) > 0;
}
