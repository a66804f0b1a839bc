/*
 * sendfile: a server that answers with SSL_write, SSL_sendfile and SSL_write again, and a client that checks what it
 * gets, in one process. Needs an OpenSSL with kernel TLS, and a kernel with it.
 *
 *     sendfile PORT FILE SIZE    waits for a line first; cert.pem and key.pem are in the directory of the program
 *
 * Exit: 0 done, 1 something failed, 2 no kernel TLS.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char before[] = "before the file\n", after[] = "after the file\n";

/* The file is not sent from its first byte, and in two calls. */
#define SKIPPED 100
#define FIRST 5000

static struct sockaddr_in address = { .sin_family = AF_INET };
static size_t size;
static int file;

static void fail(const char *what)
{
	fprintf(stderr, "sendfile: %s\n", what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

static void send_piece(SSL *ssl, off_t at, size_t length)
{
	while (length) {
		ossl_ssize_t sent = SSL_sendfile(ssl, file, at, length, 0);

		if (sent <= 0)
			fail("SSL_sendfile");
		at += sent;
		length -= sent;
	}
}

static void serve(int listener)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	SSL *ssl;

	SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
	if (SSL_CTX_use_certificate_file(ctx, "cert.pem", SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, "key.pem", SSL_FILETYPE_PEM) != 1)
		fail("cert.pem and key.pem");
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, accept(listener, 0, 0));
	if (SSL_accept(ssl) != 1)
		fail("SSL_accept");
	if (!BIO_get_ktls_send(SSL_get_wbio(ssl))) {
		fprintf(stderr, "sendfile: no kernel TLS\n");
		exit(2);
	}
	SSL_write(ssl, before, strlen(before));
	send_piece(ssl, SKIPPED, FIRST);
	send_piece(ssl, SKIPPED + FIRST, size - FIRST);
	SSL_write(ssl, after, strlen(after));
	SSL_shutdown(ssl);
	SSL_free(ssl);
}

static void *receive(void *unused)
{
	size_t length = strlen(before) + size + strlen(after), got = 0;
	char *expected = malloc(length), *received = malloc(length);
	SSL *ssl = SSL_new(SSL_CTX_new(TLS_client_method()));
	int fd = socket(AF_INET, SOCK_STREAM, 0), n;

	memcpy(expected, before, strlen(before));
	if (pread(file, expected + strlen(before), size, SKIPPED) != (ssize_t)size)
		fail("the file is too short");
	memcpy(expected + strlen(before) + size, after, strlen(after));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		fail("connect");
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) != 1)
		fail("SSL_connect");
	while (got < length && (n = SSL_read(ssl, received + got, length - got)) > 0)
		got += n;
	if (got != length || memcmp(received, expected, length))
		fail("other bytes than were sent");
	return unused;
}

int main(int argc, char **argv)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	pthread_t client;
	char line[16];

	if (argc != 4)
		fail("usage: sendfile PORT FILE SIZE");
	address.sin_port = htons(atoi(argv[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	file = open(argv[2], O_RDONLY);
	size = strtoul(argv[3], 0, 10);
	if (file < 0 || size <= FIRST)
		fail(argv[2]);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1))
		fail("listen");
	if (!fgets(line, sizeof(line), stdin))
		fail("no line");
	pthread_create(&client, 0, receive, 0);
	serve(listener);
	pthread_join(client, 0);
	return 0;
}
