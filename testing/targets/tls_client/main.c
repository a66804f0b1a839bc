/*
 * tls_client: an HTTPS client that uses OpenSSL in every way that a tracer of
 * TLS may meet. See options.c for the usage.
 *
 *     tls_client 127.0.0.1 8443 /file
 *     tls_client --nonblocking -N 20 127.0.0.1 8443 /file
 *     tls_client --upload 1048576 --partial-write --unix /tmp/server.sock /up
 *
 * Exit: 0 done, 2 usage, 3 no connection, 4 handshake failed, 5 exchange failed,
 * 9 no libssl.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../pat.h"
#include "exchange.h"
#include "options.h"
#include "ssl_calls.h"
#include "stream.h"

#define UPLOAD_STREAM 0xc11e

static FILE *keylog;

static void write_keylog(const SSL *ssl, const char *line)
{
	(void)ssl;
	fprintf(keylog, "%s\n", line);
	fflush(keylog);
}

static SSL_CTX *new_context(const struct options *options)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (options->tls12)
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	if (options->keylog) {
		keylog = fopen(options->keylog, "a");
		if (!keylog) {
			perror(options->keylog);
			exit(2);
		}
		SSL_CTX_set_keylog_callback(ctx, write_keylog);
	}
	return ctx;
}

static struct upload new_upload(const struct options *options)
{
	struct upload upload = { 0 };

	if (options->upload > 0) {
		upload.len = options->upload;
		upload.data = malloc(upload.len);
		pat_fill(upload.data, upload.len, UPLOAD_STREAM);
	}
	return upload;
}

static void sleep_ms(int ms)
{
	if (ms > 0)
		usleep(ms * 1000);
}

/* Keeps the newest ticket of the connection for the next one. */
static void remember_session(SSL_SESSION **session, SSL *ssl)
{
	if (*session)
		SSL_SESSION_free(*session);
	*session = SSL_get1_session(ssl);
}

/* Runs one connection; returns the exit code of the program, 0 if all is well. */
static int run_connection(struct exchange *exchange, SSL_CTX *ctx, SSL_SESSION **session)
{
	struct stream *stream = exchange->stream;
	const struct options *options = stream->options;
	bool ok;

	if (!stream_open(stream, ctx))
		return 3;
	if (*session) {
		ok = exchange_early(exchange, *session);
	} else {
		if (!stream_handshake(stream))
			return 4;
		sleep_ms(options->request_delay_ms);
		ok = options->threads ? exchange_in_threads(exchange) : exchange_in_turn(exchange);
	}
	if (!ok)
		return 5;
	if (options->early_data)
		remember_session(session, stream->ssl);
	return 0;
}

static void print_result(const struct http_reader *reader)
{
	printf("%ld\n", reader->body_bytes);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct options options = parse_options(argc, argv);
	struct upload upload = new_upload(&options);
	struct stream stream = { .options = &options };
	static struct http_reader reader;
	SSL_SESSION *session = NULL;
	SSL_CTX *ctx;

	signal(SIGPIPE, SIG_IGN);
	load_openssl();
	ctx = new_context(&options);
	sleep_ms(options.handshake_delay_ms);
	for (int i = 0; i < options.connections; i++) {
		struct exchange exchange = { &stream, &reader, &upload, i };
		int error;

		http_restart(&reader);
		error = run_connection(&exchange, ctx, &session);
		if (error)
			return error;
		if (options.early_exit && i + 1 == options.connections) {
			print_result(&reader);
			_exit(0);
		}
		stream_close(&stream);
	}
	sleep_ms(options.exit_delay_ms);
	print_result(&reader);
	return 0;
}
