/*
 * A TLS connection as the options want it to be driven: which calls, which
 * sizes, blocking or not, socket or memory BIOs.
 */
#ifndef STREAM_H
#define STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "options.h"
#include "ssl_calls.h"

struct stream {
	const struct options *options;
	SSL *ssl;
	int fd;
	BIO *from_peer; /* memory BIOs; NULL when OpenSSL has the socket */
	BIO *to_peer;
	unsigned int reads; /* varies the size of odd reads */
};

/* What became of one call that could not be finished. */
enum progress {
	PROGRESS_FAILED, /* or the peer closed */
	PROGRESS_AGAIN, /* worth another try */
};

/* Connects the socket and gives it to the SSL object; no handshake yet. */
bool stream_open(struct stream *stream, SSL_CTX *ctx);
bool stream_handshake(struct stream *stream);
bool stream_write(struct stream *stream, const char *data, size_t len);
/* Returns bytes, or 0 at the end of the stream; waits for data. */
size_t stream_read(struct stream *stream, char *buf, size_t size);
/* Closes the socket; keeps the SSL object when the options say so. */
void stream_close(struct stream *stream);

/* One call of OpenSSL, at most once; <= 0 means look at SSL_get_error. */
int stream_write_once(struct stream *stream, const char *data, size_t len);
int stream_read_once(struct stream *stream, char *buf, size_t size);
/* Waits for the socket if that is what the failed call wants. */
enum progress stream_wait(struct stream *stream, int result);

#endif
