#include "exchange.h"

#include <stdio.h>
#include <stdlib.h>

bool send_request(struct exchange *exchange, int request)
{
	struct stream *stream = exchange->stream;
	char head[REQUEST_HEAD_MAX];
	size_t len = http_request_head(head, stream->options, exchange->connection, request);

	return stream_write(stream, head, len) &&
	       stream_write(stream, exchange->upload->data, exchange->upload->len);
}

bool read_answers(struct exchange *exchange, int answers)
{
	size_t size = exchange->stream->options->read_size;
	char *buf = malloc(size);
	bool ok = true;

	while (ok && exchange->reader->answers < answers) {
		size_t len = stream_read(exchange->stream, buf, size);

		if (!len)
			break;
		ok = http_feed(exchange->reader, buf, len);
	}
	free(buf);
	return ok;
}

bool exchange_in_turn(struct exchange *exchange)
{
	int requests = exchange->stream->options->requests;

	for (int i = 0; i < requests; i++) {
		if (!send_request(exchange, i) ||
		    !read_answers(exchange, exchange->reader->answers + 1))
			return false;
	}
	return true;
}

/* Returns how much of the data went out as early data, or -1. */
static long write_early(struct stream *stream, const char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		size_t written = 0;

		if (SSL_write_early_data(stream->ssl, data + done, len - done, &written) == 1)
			done += written;
		else if (stream_wait(stream, 0) == PROGRESS_FAILED)
			return -1;
	}
	return done;
}

bool exchange_early(struct exchange *exchange, SSL_SESSION *session)
{
	struct stream *stream = exchange->stream;
	const struct upload *upload = exchange->upload;
	size_t limit = SSL_SESSION_get_max_early_data(session);
	char head[REQUEST_HEAD_MAX];
	size_t head_len = http_request_head(head, stream->options, exchange->connection, 0);
	size_t early_body;

	if (limit < head_len) {
		fprintf(stderr, "tls_client: the session permits %zu bytes of early data\n", limit);
		return false;
	}
	early_body = upload->len < limit - head_len ? upload->len : limit - head_len;
	SSL_set_session(stream->ssl, session);
	if (write_early(stream, head, head_len) < 0 ||
	    write_early(stream, upload->data, early_body) < 0 || !stream_handshake(stream))
		return false;
	if (SSL_get_early_data_status(stream->ssl) != SSL_EARLY_DATA_ACCEPTED) {
		fprintf(stderr, "tls_client: the server rejected early data\n");
		return false;
	}
	if (!stream_write(stream, upload->data + early_body, upload->len - early_body))
		return false;
	for (int i = 1; i < stream->options->requests; i++) {
		if (!read_answers(exchange, exchange->reader->answers + 1) ||
		    !send_request(exchange, i))
			return false;
	}
	return read_answers(exchange, exchange->reader->answers + 1);
}
