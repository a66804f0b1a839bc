/*
 * tls_stacks: TLS connections of a program with itself, on stacks of its own.
 *
 *     tls_stacks coroutines main|thread N    both ends of N connections in coroutines (swapcontext) of one thread,
 *                                            which switch inside of SSL_read and SSL_write, in a BIO
 *     tls_stacks scheduler main|thread N     the same, and the scheduler is inside of SSL_write or SSL_read while
 *                                            they run
 *     tls_stacks carved main|thread N        coroutines with their stacks in an array on the thread's own stack
 *     tls_stacks longjmp main|thread N       N connections one after another, each left by longjmp out of SSL_read
 *
 * There are two rounds. After the first it says `again` and waits for a line. In round R connection C has the
 * streams (pat.h) R * 0x1000 + 2 * C, sent by the client, and one more, sent by the server; BYTES each. Last it
 * prints `done SUM`, a sum of all that was received. Reads cert.pem and key.pem.
 */
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "pat.h"

#define BYTES 40000
#define PIECE 5000
#define STACK (64 << 10)
#define MOST 32 /* connections */

/* One direction of a connection. */
struct pipe {
	char data[64 << 10];
	size_t start, end;
};

struct end {
	SSL *ssl;
	struct pipe *in, *out;
	unsigned int stream; /* that it sends; the other end sends stream ^ 1 */
	bool is_server;
};

struct coroutine {
	ucontext_t context;
	struct end *end;
	bool over;
};

static struct coroutine coroutines[2 * MOST];
static int count, running = -1; /* -1: the thread's own stack */
static ucontext_t scheduler;
static jmp_buf out_of_read;
static bool switches, jumps; /* what an end does that has to wait; else it is told to retry */
static uint64_t sum;

static void fail(const char *what)
{
	printf("failed: %s\n", what);
	exit(1);
}

/* ---- coroutines */

static void run_each_once(void)
{
	for (int i = 0; i < count; i++) {
		if (coroutines[i].over)
			continue;
		running = i;
		swapcontext(&scheduler, &coroutines[i].context);
		running = -1;
	}
}

static void give_way(void)
{
	if (running < 0)
		run_each_once();
	else
		swapcontext(&coroutines[running].context, &scheduler);
}

static void converse(struct end *end);

static void coroutine_main(void)
{
	converse(coroutines[running].end);
	coroutines[running].over = true;
	give_way();
}

static void add_coroutine(struct end *end, char *stack)
{
	struct coroutine *added = &coroutines[count++];

	*added = (struct coroutine){ .end = end };
	getcontext(&added->context);
	added->context.uc_stack.ss_sp = stack;
	added->context.uc_stack.ss_size = STACK;
	makecontext(&added->context, coroutine_main, 0);
}

/* ---- a BIO between the two ends */

static int pipe_read(BIO *bio, char *buffer, int length)
{
	struct pipe *in = ((struct end *)BIO_get_data(bio))->in;
	size_t n;

	BIO_clear_retry_flags(bio);
	while (in->start == in->end) {
		if (jumps)
			longjmp(out_of_read, 1);
		if (!switches) {
			BIO_set_retry_read(bio);
			return -1;
		}
		give_way();
	}
	n = in->end - in->start;
	if (n > (size_t)length)
		n = length;
	memcpy(buffer, in->data + in->start, n);
	in->start += n;
	if (in->start == in->end)
		in->start = in->end = 0;
	return n;
}

static int pipe_write(BIO *bio, const char *buffer, int length)
{
	struct pipe *out = ((struct end *)BIO_get_data(bio))->out;

	BIO_clear_retry_flags(bio);
	while (out->end + length > sizeof(out->data)) {
		if (!switches) {
			BIO_set_retry_write(bio);
			return -1;
		}
		give_way();
	}
	memcpy(out->data + out->end, buffer, length);
	out->end += length;
	if (switches)
		give_way();
	return length;
}

static long pipe_control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static BIO *new_bio(struct end *end)
{
	static BIO_METHOD *method;
	BIO *bio;

	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pipe");
		BIO_meth_set_read(method, pipe_read);
		BIO_meth_set_write(method, pipe_write);
		BIO_meth_set_ctrl(method, pipe_control);
	}
	bio = BIO_new(method);
	BIO_set_data(bio, end);
	BIO_set_init(bio, 1);
	return bio;
}

/* ---- the ends */

static SSL_CTX *context(bool is_server)
{
	static SSL_CTX *made[2];
	SSL_CTX *ctx = made[is_server];

	if (ctx)
		return ctx;
	ctx = made[is_server] = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
	if (is_server && (SSL_CTX_use_certificate_file(ctx, "cert.pem", SSL_FILETYPE_PEM) != 1 ||
			  SSL_CTX_use_PrivateKey_file(ctx, "key.pem", SSL_FILETYPE_PEM) != 1))
		fail("cert.pem and key.pem");
	return ctx;
}

static void open_end(struct end *end)
{
	BIO *bio = new_bio(end);

	end->ssl = SSL_new(context(end->is_server));
	SSL_set_bio(end->ssl, bio, bio);
	if (end->is_server)
		SSL_set_accept_state(end->ssl);
	else
		SSL_set_connect_state(end->ssl);
}

static void send_all(struct end *end)
{
	static char body[BYTES]; /* the same for all who switch in between: filled for each piece */

	for (size_t at = 0; at < BYTES; at += PIECE) {
		char piece[PIECE];

		pat_fill(body, BYTES, end->stream);
		memcpy(piece, body + at, PIECE);
		if (SSL_write(end->ssl, piece, PIECE) != PIECE)
			fail("SSL_write");
	}
}

static void receive_all(struct end *end)
{
	char *received = malloc(BYTES), *expected = malloc(BYTES);

	for (size_t at = 0; at < BYTES;) {
		int n = SSL_read(end->ssl, received + at, BYTES - at);

		if (n <= 0)
			fail("SSL_read");
		at += n;
	}
	pat_fill(expected, BYTES, end->stream ^ 1);
	if (memcmp(received, expected, BYTES))
		fail("other bytes than were sent");
	for (size_t i = 0; i < BYTES; i++)
		sum = sum * 31 + (unsigned char)received[i];
	free(received);
	free(expected);
}

static void converse(struct end *end)
{
	open_end(end);
	if (end->is_server) {
		receive_all(end);
		send_all(end);
	} else {
		send_all(end);
		receive_all(end);
	}
	SSL_free(end->ssl);
}

/* ---- rounds */

static void connect_ends(struct end ends[2], unsigned int stream)
{
	struct pipe *there = calloc(1, sizeof(*there)), *back = calloc(1, sizeof(*back));

	ends[0] = (struct end){ .in = back, .out = there, .stream = stream };
	ends[1] = (struct end){ .in = there, .out = back, .stream = stream + 1, .is_server = true };
}

static void disconnect(struct end ends[2])
{
	free(ends[0].in);
	free(ends[0].out);
}

/* `in_scheduler`: the client of the first connection is no coroutine. */
static void coroutine_round(int connections, unsigned int stream, bool in_scheduler, char *stacks)
{
	static struct end ends[MOST][2];

	switches = true;
	count = 0;
	for (int i = 0; i < connections; i++) {
		connect_ends(ends[i], stream + 2 * i);
		for (int side = in_scheduler && !i; side < 2; side++)
			add_coroutine(&ends[i][side], stacks + (size_t)count * STACK);
	}
	if (in_scheduler)
		converse(&ends[0][0]);
	for (int left = 1; left;) {
		run_each_once();
		left = 0;
		for (int i = 0; i < count; i++)
			left += !coroutines[i].over;
	}
	for (int i = 0; i < connections; i++)
		disconnect(ends[i]);
}

/* Not inlined: calls come from another depth each time. */
static __attribute__((noinline)) void receive_and_jump(struct end ends[2], int depth)
{
	volatile char room[4096] = { 0 };

	if (depth) {
		receive_and_jump(ends, depth - 1);
	} else {
		send_all(&ends[1]);
		receive_all(&ends[0]);
		jumps = true;
		SSL_read(ends[0].ssl, (char *)room, 1);
	}
	room[1] = 0; /* no tail call */
}

static void leave_by_longjmp(unsigned int stream)
{
	static struct end ends[2];
	static int step;

	connect_ends(ends, stream);
	open_end(&ends[0]);
	open_end(&ends[1]);
	while (SSL_do_handshake(ends[0].ssl) + SSL_do_handshake(ends[1].ssl) < 2)
		;
	send_all(&ends[0]);
	receive_all(&ends[1]);
	if (!setjmp(out_of_read))
		receive_and_jump(ends, step++ % 3);
	jumps = false;
	SSL_free(ends[0].ssl);
	SSL_free(ends[1].ssl);
	disconnect(ends);
}

static char **arguments;

static void *rounds(void *unused)
{
	const char *how = arguments[1];
	int connections = atoi(arguments[3]);
	size_t size = (size_t)2 * connections * STACK;
	bool is_carved = !strcmp(how, "carved");
	char carved[is_carved ? size : 1];
	/* Without guard pages, and readily put next to other memory. */
	char *mapped = mmap(0, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	for (unsigned int round = 0; round < 2; round++) {
		unsigned int stream = round << 12;
		char line[16];

		if (round) {
			printf("again\n");
			if (!fgets(line, sizeof(line), stdin))
				fail("no line");
		}
		if (!strcmp(how, "longjmp"))
			for (int i = 0; i < connections; i++)
				leave_by_longjmp(stream + 2 * i);
		else
			coroutine_round(connections, stream, !strcmp(how, "scheduler"),
					is_carved ? carved : mapped);
	}
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	setvbuf(stdout, 0, _IOLBF, 0);
	if (argc != 4 || atoi(argv[3]) < 1 || atoi(argv[3]) > MOST)
		fail("usage: tls_stacks coroutines|scheduler|carved|longjmp main|thread CONNECTIONS");
	arguments = argv;
	if (strcmp(argv[2], "thread")) {
		rounds(0);
	} else {
		pthread_create(&thread, 0, rounds, 0);
		pthread_join(thread, 0);
	}
	printf("done %016llx\n", (unsigned long long)sum);
	return 0;
}
