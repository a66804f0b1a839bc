// Both ends of a GnuTLS connection in one process: sends the file `body` in one of the ways that the library has.
//
//	gnutls_forms send|resend|resume|range|cork|cork-wait|file recv|seq|packet PRIORITY
//
// Certificate and key are cert.pem and key.pem of the directory. Fails unless what arrives is what was sent. Prints how
// often a call had to be made again.
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// More than a record holds, and no multiple of it.
#define PIECE 20011
#define LARGEST (1 << 22)

static char body[LARGEST], arrived[LARGEST];
static size_t length;
static const char *sending, *receiving, *priority;
static int again;

static int is(const char *form)
{
	return !strcmp(sending, form);
}

static void check(int ok, const char *what, int error)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, gnutls_strerror(error));
	exit(1);
}

static gnutls_session_t session(unsigned flags, int fd,
				gnutls_certificate_credentials_t credentials)
{
	gnutls_session_t session;
	int error = gnutls_init(&session, flags);

	check(!error, "init", error);
	error = gnutls_priority_set_direct(session, priority, NULL);
	check(!error, "priority", error);
	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
	gnutls_transport_set_int(session, fd);
	do
		error = gnutls_handshake(session);
	while (error < 0 && !gnutls_error_is_fatal(error));
	check(!error, "handshake", error);
	return session;
}

static ssize_t receive(gnutls_session_t session, char *to)
{
	unsigned char sequence[8];
	gnutls_packet_t packet;
	gnutls_datum_t data;
	ssize_t got;

	if (!strcmp(receiving, "recv"))
		return gnutls_record_recv(session, to, 10007);
	if (!strcmp(receiving, "seq"))
		return gnutls_record_recv_seq(session, to, 10007, sequence);
	got = gnutls_record_recv_packet(session, &packet);
	if (got > 0) {
		gnutls_packet_get(packet, &data, NULL);
		memcpy(to, data.data, data.size);
		gnutls_packet_deinit(packet);
	}
	return got;
}

static void *serve(void *fd)
{
	gnutls_certificate_credentials_t credentials;
	gnutls_session_t server;
	size_t total = 0;

	gnutls_certificate_allocate_credentials(&credentials);
	int error = gnutls_certificate_set_x509_key_file(credentials, "cert.pem", "key.pem",
							 GNUTLS_X509_FMT_PEM);
	check(!error, "certificate", error);
	server = session(GNUTLS_SERVER, *(int *)fd, credentials);
	while (total < length) {
		ssize_t got = receive(server, arrived + total);

		check(got > 0 || got == GNUTLS_E_AGAIN, "receive", got);
		total += got > 0 ? got : 0;
	}
	check(!memcmp(body, arrived, length), "other bytes arrived", 0);
	gnutls_deinit(server);
	return NULL;
}

static int is_again(int fd, ssize_t result)
{
	struct pollfd writable = { .fd = fd, .events = POLLOUT };

	if (result != GNUTLS_E_AGAIN && result != GNUTLS_E_INTERRUPTED)
		return 0;
	again++;
	poll(&writable, 1, 1000);
	return 1;
}

// One call, and others until it is through.
static ssize_t send_piece(gnutls_session_t client, int fd, const char *from, size_t size)
{
	gnutls_range_st range = { .low = size, .high = size + 100 };
	static char buffer[PIECE];
	ssize_t sent;

	if (is("range"))
		return gnutls_record_send_range(client, from, size, &range);
	memcpy(buffer, from, size);
	sent = gnutls_record_send(client, buffer, size);
	while (is_again(fd, sent)) {
		if (is("resume")) {
			memset(buffer, '#', size); // the library has what it needs
			sent = gnutls_record_send(client, NULL, 0);
		} else {
			sent = gnutls_record_send(client, buffer, size);
		}
	}
	return sent;
}

static void send_all(gnutls_session_t client, int fd)
{
	int wait = is("cork-wait") ? GNUTLS_RECORD_WAIT : 0;
	int result;

	for (size_t at = 0; at < length;) {
		size_t left = length - at;

		if (is("cork") || is("cork-wait"))
			gnutls_record_cork(client);
		ssize_t sent = send_piece(client, fd, body + at, left < PIECE ? left : PIECE);
		check(sent > 0, "send", sent);
		at += sent;
		if (!is("cork") && !is("cork-wait"))
			continue;
		do
			result = gnutls_record_uncork(client, wait);
		while (is_again(fd, result));
		check(result >= 0, "uncork", result);
	}
}

int main(int argc, char **argv)
{
	int file = open("body", O_RDONLY), ends[2], small = 4608;
	gnutls_certificate_credentials_t credentials;
	pthread_t server;

	if (argc != 4 || file < 0)
		return 2;
	sending = argv[1], receiving = argv[2], priority = argv[3];
	length = read(file, body, sizeof(body));
	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	pthread_create(&server, NULL, serve, &ends[1]);
	gnutls_certificate_allocate_credentials(&credentials);
	gnutls_session_t client = session(GNUTLS_CLIENT, ends[0], credentials);
	if (is("resume") || is("resend") || is("cork")) {
		setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
		fcntl(ends[0], F_SETFL, O_NONBLOCK);
	}
	if (is("file")) {
		lseek(file, 0, SEEK_SET);
		for (size_t sent = 0; sent < length;) {
			ssize_t count = gnutls_record_send_file(client, file, NULL, length - sent);

			check(count > 0, "send a file", count);
			sent += count;
		}
	} else {
		send_all(client, ends[0]);
	}
	pthread_join(server, NULL);
	gnutls_deinit(client);
	printf("%d\n", again);
	return 0;
}
