/*
 * ssl_micro: the cost of SSL_write and SSL_read with as little else as possible.
 *
 * Each thread is both ends of a TLS 1.3 connection over a socket pair. One
 * operation is one write on one end and the reads of it on the other end.
 *
 * usage: ssl_micro [options]
 *   -s BYTES   per operation (4096)
 *   -d SECS    how long; or -n OPS how many
 *   -T N       threads (1)
 *   -r HZ      operations per second and thread (no limit)
 *   -x         SSL_read_ex and SSL_write_ex
 *   -R         read in pieces of 1 KiB
 *   -m         begin each payload with its number:       @W<8 hex>@
 *   -t         begin each payload with the time in ns:   @T<20 digits>@
 *   -c, -k     certificate and key (cert.pem, key.pem)
 *
 * Prints one JSON object. started_ns is when the program began and begun_ns when
 * the first operation did; all times are CLOCK_MONOTONIC. -d or -n is needed.
 */
#include <fcntl.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "pat.h"

#define MAX_THREADS 64
#define PIECE 1024
#define STREAM 0xbeef
#define SOCKET_BUFFER (4 << 20) /* a whole payload fits: writes never block */

static struct {
	int size;
	int threads;
	long operations;
	double seconds;
	double rate;
	bool ex_calls;
	bool pieces;
	bool number;
	bool time;
	const char *cert;
	const char *key;
} options = { .size = 4096, .threads = 1, .cert = "cert.pem", .key = "key.pem" };

struct worker {
	pthread_t thread;
	long operations;
	double begun_ns;
	double wall_ns;
	double cpu_ns;
};

static SSL_CTX *server_ctx, *client_ctx;
static atomic_bool started;

static double clock_ns(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "ssl_micro: %s failed\n", what);
	exit(3);
}

static void set_blocking(int fd, bool blocking)
{
	int flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

/* One thread does both sides, so neither may wait for the other. */
static void handshake(SSL *client, SSL *server, const int *sockets)
{
	bool client_done = false, server_done = false;

	for (int i = 0; i < 2; i++)
		set_blocking(sockets[i], false);
	for (int i = 0; i < 100 && !(client_done && server_done); i++) {
		client_done = client_done || SSL_do_handshake(client) == 1;
		server_done = server_done || SSL_do_handshake(server) == 1;
	}
	if (!client_done || !server_done)
		fail("handshake");
	for (int i = 0; i < 2; i++)
		set_blocking(sockets[i], true);
}

static void connect_pair(SSL **client, SSL **server)
{
	int sockets[2], size = SOCKET_BUFFER;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets))
		fail("socketpair");
	for (int i = 0; i < 2; i++)
		setsockopt(sockets[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	*server = SSL_new(server_ctx);
	*client = SSL_new(client_ctx);
	SSL_set_fd(*server, sockets[0]);
	SSL_set_fd(*client, sockets[1]);
	SSL_set_accept_state(*server);
	SSL_set_connect_state(*client);
	handshake(*client, *server, sockets);
}

static void write_payload(SSL *ssl, const char *data)
{
	size_t len;

	if (options.ex_calls) {
		if (SSL_write_ex(ssl, data, options.size, &len) != 1)
			fail("SSL_write_ex");
	} else if (SSL_write(ssl, data, options.size) != options.size) {
		fail("SSL_write");
	}
}

static void read_payload(SSL *ssl, char *buf)
{
	int done = 0;

	while (done < options.size) {
		int want = options.size - done;
		size_t len;

		if (options.pieces && want > PIECE)
			want = PIECE;
		if (options.ex_calls) {
			if (SSL_read_ex(ssl, buf + done, want, &len) != 1)
				fail("SSL_read_ex");
			done += len;
		} else {
			int received = SSL_read(ssl, buf + done, want);

			if (received <= 0)
				fail("SSL_read");
			done += received;
		}
	}
}

static void mark_payload(char *data, long operation)
{
	char mark[32];
	int len = 0;

	if (options.number)
		len = snprintf(mark, sizeof(mark), "@W%08lx@", operation);
	else if (options.time)
		len = snprintf(mark, sizeof(mark), "@T%020.0f@", clock_ns(CLOCK_MONOTONIC));
	memcpy(data, mark, len < options.size ? len : options.size);
}

static void keep_rate(double begin, long operations)
{
	double next = begin + operations * 1e9 / options.rate;
	double left = next - clock_ns(CLOCK_MONOTONIC);

	if (left > 0)
		usleep(left / 1000);
}

static bool is_over(double begin, long operations)
{
	if (options.operations)
		return operations >= options.operations;
	/* Looking at the clock costs, too: not after every operation. */
	if (operations % 16 && !options.rate)
		return false;
	return clock_ns(CLOCK_MONOTONIC) - begin > options.seconds * 1e9;
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	char *out = malloc(options.size), *in = malloc(options.size);
	double wall, cpu;
	SSL *client, *server;

	connect_pair(&client, &server);
	pat_fill(out, options.size, STREAM);
	while (!started)
		usleep(100);
	wall = clock_ns(CLOCK_MONOTONIC);
	worker->begun_ns = wall;
	cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	do {
		mark_payload(out, worker->operations++);
		write_payload(client, out);
		read_payload(server, in);
		if (options.rate)
			keep_rate(wall, worker->operations);
	} while (!is_over(wall, worker->operations));
	worker->wall_ns = clock_ns(CLOCK_MONOTONIC) - wall;
	worker->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	return NULL;
}

static void parse_options(int argc, char **argv)
{
	int letter;

	while ((letter = getopt(argc, argv, "s:d:n:T:r:xRmtc:k:")) != -1) {
		switch (letter) {
		case 's':
			options.size = atoi(optarg);
			break;
		case 'd':
			options.seconds = atof(optarg);
			break;
		case 'n':
			options.operations = atol(optarg);
			break;
		case 'T':
			options.threads = atoi(optarg);
			break;
		case 'r':
			options.rate = atof(optarg);
			break;
		case 'x':
			options.ex_calls = true;
			break;
		case 'R':
			options.pieces = true;
			break;
		case 'm':
			options.number = true;
			break;
		case 't':
			options.time = true;
			break;
		case 'c':
			options.cert = optarg;
			break;
		case 'k':
			options.key = optarg;
			break;
		default:
			exit(2);
		}
	}
	if (!options.operations && !options.seconds) {
		fprintf(stderr, "ssl_micro: -d SECS or -n OPS is needed\n");
		exit(2);
	}
	if (options.size < 1 || options.threads < 1 || options.threads > MAX_THREADS) {
		fprintf(stderr, "ssl_micro: -s 1 or more, -T 1 to %d\n", MAX_THREADS);
		exit(2);
	}
}

static void create_contexts(void)
{
	server_ctx = SSL_CTX_new(TLS_server_method());
	client_ctx = SSL_CTX_new(TLS_client_method());
	if (SSL_CTX_use_certificate_file(server_ctx, options.cert, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_PrivateKey_file(server_ctx, options.key, SSL_FILETYPE_PEM) != 1) {
		fprintf(stderr, "ssl_micro: cannot use %s and %s\n", options.cert, options.key);
		exit(2);
	}
	SSL_CTX_set_num_tickets(server_ctx, 0);
}

static void print_result(const struct worker *workers, double start)
{
	double operations = 0, wall = 0, cpu = 0;

	for (int i = 0; i < options.threads; i++) {
		operations += workers[i].operations;
		cpu += workers[i].cpu_ns;
		if (workers[i].wall_ns > wall)
			wall = workers[i].wall_ns;
	}
	printf("{\"started_ns\": %.0f, \"begun_ns\": %.0f, \"ops\": %.0f, \"size\": %d, "
	       "\"cpu_ns_per_op\": %.1f, \"ops_per_s\": %.1f}\n",
	       start, workers[0].begun_ns, operations, options.size, cpu / operations,
	       operations / (wall / 1e9));
}

int main(int argc, char **argv)
{
	static struct worker workers[MAX_THREADS];
	double start = clock_ns(CLOCK_MONOTONIC);

	parse_options(argc, argv);
	create_contexts();
	for (int i = 0; i < options.threads; i++)
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	started = true;
	for (int i = 0; i < options.threads; i++)
		pthread_join(workers[i].thread, NULL);
	print_result(workers, start);
	return 0;
}
