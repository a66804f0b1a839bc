/* Just enough of an HTTP/1.1 client to know where requests and answers end. */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "options.h"

#define REQUEST_HEAD_MAX 1024

/*
 * Writes the head of one request into buf (REQUEST_HEAD_MAX bytes) and returns
 * its length. X-Probe tells requests apart; the last one of a connection asks
 * the server to close it.
 */
size_t http_request_head(char *buf, const struct options *options, int connection, int request);

/* Reads answers byte stream in, body length out; answers may follow each other. */
struct http_reader {
	char head[16384];
	size_t head_len;
	bool in_body;
	long body_left; /* < 0: until the connection ends */
	long body_bytes; /* of all answers so far */
	int answers; /* complete ones */
};

/* A new connection begins: what was incomplete stays so. */
void http_restart(struct http_reader *reader);
/* Takes len received bytes; false: this is no HTTP answer. */
bool http_feed(struct http_reader *reader, const char *data, size_t len);

#endif
