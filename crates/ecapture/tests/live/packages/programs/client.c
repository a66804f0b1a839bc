// Asks for /before, prints "open", waits for a line, and asks for /secret-page on the same connection. Uses only what
// every member of the OpenSSL family has.

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void check(int good, const char *what)
{
	if (!good) {
		fprintf(stderr, "client: %s\n", what);
		exit(1);
	}
}

static void get(SSL *ssl, const char *path)
{
	char buffer[4096];
	int length = snprintf(buffer, sizeof(buffer), "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n",
			      path);
	check(SSL_write(ssl, buffer, length) == length, "SSL_write");
	for (length = 0;;) {
		int got = SSL_read(ssl, buffer + length, sizeof(buffer) - 1 - length);
		check(got > 0, "SSL_read");
		length += got;
		buffer[length] = '\0';
		// The end of a body in chunks, or of one that is "ok".
		if (strstr(buffer, "\r\n0\r\n\r\n") || strstr(buffer, "\r\n\r\nok"))
			return;
	}
}

int main(int argc, char **argv)
{
	check(argc == 2, "usage: client PORT");
	struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])) };
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	check(connect(fd, (struct sockaddr *)&server, sizeof(server)) == 0, "connect");
	SSL *ssl = SSL_new(SSL_CTX_new(TLS_client_method()));
	check(ssl && SSL_set_fd(ssl, fd) && SSL_connect(ssl) == 1, "SSL_connect");
	get(ssl, "/before");
	puts("open");
	fflush(stdout);
	getchar();
	get(ssl, "/secret-page");
	SSL_shutdown(ssl);
	return 0;
}
