#define _GNU_SOURCE /* strcasestr */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t http_request_head(char *buf, const struct options *options, int connection, int request)
{
	bool last = request + 1 == options->requests;
	char length[64] = "";

	if (options->upload >= 0)
		snprintf(length, sizeof(length), "Content-Length: %ld\r\n", options->upload);
	return snprintf(buf, REQUEST_HEAD_MAX,
			"%s %s HTTP/1.1\r\n"
			"Host: localhost\r\n"
			"Connection: %s\r\n"
			"%s"
			"X-Probe: conn-%d-req-%d\r\n"
			"\r\n",
			options->upload >= 0 ? "POST" : "GET", options->path,
			last ? "close" : "keep-alive", length, connection, request);
}

void http_restart(struct http_reader *reader)
{
	reader->in_body = false;
	reader->head_len = 0;
}

static void finish_answer(struct http_reader *reader)
{
	reader->answers++;
	http_restart(reader);
}

static void start_body(struct http_reader *reader)
{
	const char *length;

	reader->head[reader->head_len] = '\0';
	length = strcasestr(reader->head, "content-length:");
	reader->body_left = length ? atol(length + strlen("content-length:")) : -1;
	reader->in_body = true;
	if (reader->body_left == 0)
		finish_answer(reader);
}

static bool feed_head(struct http_reader *reader, char byte)
{
	if (reader->head_len + 1 >= sizeof(reader->head))
		return false;
	reader->head[reader->head_len++] = byte;
	if (reader->head_len >= 4 && !memcmp(reader->head + reader->head_len - 4, "\r\n\r\n", 4))
		start_body(reader);
	return true;
}

static size_t feed_body(struct http_reader *reader, size_t len)
{
	size_t take = len;

	if (reader->body_left >= 0) {
		if (take > (size_t)reader->body_left)
			take = reader->body_left;
		reader->body_left -= take;
	}
	reader->body_bytes += take;
	if (reader->body_left == 0)
		finish_answer(reader);
	return take;
}

bool http_feed(struct http_reader *reader, const char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		if (reader->in_body)
			done += feed_body(reader, len - done);
		else if (!feed_head(reader, data[done++]))
			return false;
	}
	return true;
}
