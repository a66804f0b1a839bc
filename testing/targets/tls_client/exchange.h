/*
 * What is said on one connection: requests and answers, in one of three ways.
 * All return false after a failure; `reader` collects what was received.
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <stdbool.h>

#include "http.h"
#include "stream.h"

/* The body of uploads, made once: options->upload bytes of stream 0xc11e. */
struct upload {
	char *data;
	size_t len;
};

struct exchange {
	struct stream *stream;
	struct http_reader *reader;
	const struct upload *upload;
	int connection;
};

/* One request, its answer, the next request. */
bool exchange_in_turn(struct exchange *exchange);

/*
 * One thread writes all requests while the others take turns at reading the
 * answers. A lock keeps two threads from being inside the SSL object at the
 * same time, which OpenSSL demands.
 */
bool exchange_in_threads(struct exchange *exchange);

/*
 * The first request travels as 0-RTT data, as far as the session permits, the
 * rest after the handshake. Does the handshake, too.
 */
bool exchange_early(struct exchange *exchange, SSL_SESSION *session);

/* Writes one request, head and body. */
bool send_request(struct exchange *exchange, int request);
/* Reads until `answers` answers are complete; true also at the end of stream. */
bool read_answers(struct exchange *exchange, int answers);

#endif
