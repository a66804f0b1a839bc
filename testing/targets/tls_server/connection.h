/*
 * One connection of the server, as a state machine that works on blocking and
 * on non-blocking sockets: on a blocking one it simply never has to wait.
 *
 *     GET /bytes/N/STREAM   N bytes of pattern STREAM (hexadecimal)
 *     GET /hang             no answer, ever
 *     POST                  reads the body, answers its length (9 bytes)
 */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <openssl/ssl.h>

#include "options.h"

struct connection;

/* What the connection waits for. */
enum waiting {
	WAIT_READ,
	WAIT_WRITE,
	WAIT_NEVER, /* it is over */
};

/* Takes over the socket. */
struct connection *connection_new(SSL_CTX *ctx, int fd, const struct options *options);
/* Goes on until it would block or is over. */
enum waiting connection_run(struct connection *connection);
/* Closes the socket. */
void connection_free(struct connection *connection);
int connection_fd(const struct connection *connection);

#endif
