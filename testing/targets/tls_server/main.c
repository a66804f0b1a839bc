/*
 * tls_server: an HTTPS server that uses OpenSSL in the ways that servers do.
 * See options.c for the usage and connection.h for what it answers.
 *
 *     tls_server 8443
 *     tls_server --epoll --ex --write-size 16384 8443
 *     tls_server --early-data 65536 --unix /tmp/server.sock
 *
 * Runs until it is killed. Exit: 2 usage, certificate or key, 3 cannot listen.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../sockets.h"
#include "connection.h"
#include "options.h"

#define MAX_EVENTS 64

/* Everything that the connections share. */
struct server {
	struct options options;
	SSL_CTX *ctx;
	int listener;
};

static void run_blocking(struct connection *connection)
{
	connection_run(connection);
	connection_free(connection);
}

static void *run_thread(void *arg)
{
	run_blocking(arg);
	return NULL;
}

static void serve_in_thread(struct server *server, int fd)
{
	pthread_t thread;

	if (!pthread_create(&thread, NULL, run_thread,
			    connection_new(server->ctx, fd, &server->options)))
		pthread_detach(thread);
}

static void serve_in_process(struct server *server, int fd)
{
	if (fork() == 0) {
		close(server->listener);
		run_blocking(connection_new(server->ctx, fd, &server->options));
		_exit(0);
	}
	close(fd);
}

static void accept_blocking(struct server *server)
{
	for (;;) {
		int fd = accept(server->listener, NULL, NULL);

		if (fd < 0)
			continue;
		if (server->options.serving == SERVE_FORKS)
			serve_in_process(server, fd);
		else
			serve_in_thread(server, fd);
	}
}

/* Tells epoll what the connection waits for, or ends it. */
static void await(int epoll, int operation, struct connection *connection)
{
	enum waiting waiting = connection_run(connection);
	struct epoll_event event = {
		.events = waiting == WAIT_WRITE ? EPOLLOUT : EPOLLIN,
		.data.ptr = connection,
	};

	if (waiting == WAIT_NEVER)
		connection_free(connection);
	else
		epoll_ctl(epoll, operation, connection_fd(connection), &event);
}

static void accept_all(struct server *server, int epoll)
{
	int fd;

	while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
		set_nonblocking(fd);
		await(epoll, EPOLL_CTL_ADD, connection_new(server->ctx, fd, &server->options));
	}
}

static void serve_with_epoll(struct server *server)
{
	struct epoll_event events[MAX_EVENTS] = { { .events = EPOLLIN } };
	int epoll = epoll_create1(0);

	set_nonblocking(server->listener);
	epoll_ctl(epoll, EPOLL_CTL_ADD, server->listener, &events[0]); /* data.ptr: NULL */
	for (;;) {
		int count = epoll_wait(epoll, events, MAX_EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr)
				await(epoll, EPOLL_CTL_MOD, events[i].data.ptr);
			else
				accept_all(server, epoll);
		}
	}
}

static SSL_CTX *new_context(const struct options *options)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (SSL_CTX_use_certificate_file(ctx, options->cert, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, options->key, SSL_FILETYPE_PEM) != 1) {
		fprintf(stderr, "tls_server: cannot use %s and %s\n", options->cert, options->key);
		exit(2);
	}
	if (options->early_data) {
		SSL_CTX_set_max_early_data(ctx, options->early_data);
		SSL_CTX_set_recv_max_early_data(ctx, options->early_data);
		/* Stateless tickets: they work across processes, too. */
		SSL_CTX_set_options(ctx, SSL_OP_NO_ANTI_REPLAY);
	}
	return ctx;
}

static void print_ready(const struct server *server)
{
	if (server->options.unix_socket)
		printf("ready %s\n", server->options.unix_socket);
	else
		printf("ready %d\n", local_port(server->listener));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct server server = { .options = parse_options(argc, argv) };
	const struct options *options = &server.options;

	signal(SIGPIPE, SIG_IGN);
	if (options->serving == SERVE_FORKS)
		signal(SIGCHLD, SIG_IGN);
	server.ctx = new_context(options);
	server.listener = options->unix_socket ? listen_unix(options->unix_socket) :
						 listen_tcp(options->port);
	if (server.listener < 0)
		return 3;
	print_ready(&server);
	if (options->serving == SERVE_EPOLL)
		serve_with_epoll(&server);
	else
		accept_blocking(&server);
}
