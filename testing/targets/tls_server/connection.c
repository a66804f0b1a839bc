#define _GNU_SOURCE /* strcasestr */
#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../pat.h"

#define ANSWER_HEAD_MAX 256
#define INPUT_SIZE 65536

enum state {
	STATE_EARLY_DATA,
	STATE_HANDSHAKE,
	STATE_HEAD, /* collecting the head of a request */
	STATE_UPLOAD, /* skipping the body of a request */
	STATE_ANSWER, /* writing */
	STATE_HANG,
	STATE_OVER,
};

/* The outcome of one step of the state machine. */
enum step {
	STEP_AGAIN,
	STEP_READ,
	STEP_WRITE,
	STEP_OVER,
};

struct connection {
	const struct options *options;
	SSL *ssl;
	int fd;
	enum state state;
	bool close_after_answer;

	char *in; /* received and not used yet; all early data fits */
	size_t in_size;
	size_t in_len;
	long upload_len;
	long upload_left;

	char *answer;
	size_t answer_len;
	size_t answer_done;
};

struct connection *connection_new(SSL_CTX *ctx, int fd, const struct options *options)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	connection->options = options;
	connection->fd = fd;
	connection->state = options->early_data ? STATE_EARLY_DATA : STATE_HANDSHAKE;
	connection->in_size = INPUT_SIZE + options->early_data;
	connection->in = malloc(connection->in_size + 1); /* and a NUL */
	connection->ssl = SSL_new(ctx);
	SSL_set_fd(connection->ssl, fd);
	return connection;
}

void connection_free(struct connection *connection)
{
	SSL_free(connection->ssl);
	close(connection->fd);
	free(connection->in);
	free(connection->answer);
	free(connection);
}

int connection_fd(const struct connection *connection)
{
	return connection->fd;
}

static enum step step_after_error(struct connection *connection, int result)
{
	switch (SSL_get_error(connection->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return STEP_READ;
	case SSL_ERROR_WANT_WRITE:
		return STEP_WRITE;
	default:
		return STEP_OVER;
	}
}

static int ssl_read(struct connection *connection, char *buf, size_t size)
{
	size_t len = 0;

	if (!connection->options->ex_calls)
		return SSL_read(connection->ssl, buf, size);
	return SSL_read_ex(connection->ssl, buf, size, &len) == 1 ? (int)len : -1;
}

static int ssl_write(struct connection *connection, const char *data, size_t size)
{
	size_t len = 0;

	if (!connection->options->ex_calls)
		return SSL_write(connection->ssl, data, size);
	return SSL_write_ex(connection->ssl, data, size, &len) == 1 ? (int)len : -1;
}

static enum step receive(struct connection *connection)
{
	size_t room = connection->in_size - connection->in_len;
	int len;

	if (!room)
		return STEP_OVER;
	len = ssl_read(connection, connection->in + connection->in_len, room);
	if (len <= 0)
		return step_after_error(connection, len);
	connection->in_len += len;
	return STEP_AGAIN;
}

static enum step receive_early_data(struct connection *connection)
{
	size_t room = connection->in_size - connection->in_len;
	size_t len = 0;

	switch (SSL_read_early_data(connection->ssl, connection->in + connection->in_len, room,
				    &len)) {
	case SSL_READ_EARLY_DATA_SUCCESS:
		connection->in_len += len;
		return STEP_AGAIN;
	case SSL_READ_EARLY_DATA_FINISH:
		connection->state = STATE_HANDSHAKE;
		return STEP_AGAIN;
	default:
		return step_after_error(connection, 0);
	}
}

static enum step handshake(struct connection *connection)
{
	int result = SSL_accept(connection->ssl);

	if (result != 1)
		return step_after_error(connection, result);
	connection->state = STATE_HEAD;
	return STEP_AGAIN;
}

/* Removes the first len received bytes; what follows may be the next request. */
static void consume(struct connection *connection, size_t len)
{
	connection->in_len -= len;
	memmove(connection->in, connection->in + len, connection->in_len);
}

static void answer_upload(struct connection *connection)
{
	connection->answer = malloc(ANSWER_HEAD_MAX);
	connection->answer_len = snprintf(connection->answer, ANSWER_HEAD_MAX,
					  "HTTP/1.1 200 OK\r\n"
					  "Content-Length: 9\r\n"
					  "\r\n"
					  "%08ld\n",
					  connection->upload_len);
	connection->state = STATE_ANSWER;
}

static void answer_bytes(struct connection *connection, size_t len, unsigned int stream)
{
	size_t head;

	connection->answer = malloc(ANSWER_HEAD_MAX + len);
	head = snprintf(connection->answer, ANSWER_HEAD_MAX,
			"HTTP/1.1 200 OK\r\n"
			"Content-Length: %zu\r\n"
			"\r\n",
			len);
	pat_fill(connection->answer + head, len, stream);
	connection->answer_len = head + len;
	connection->state = STATE_ANSWER;
}

/* Understands the head of a request, which is NUL-terminated. */
static void start_request(struct connection *connection, const char *head)
{
	const char *length = strcasestr(head, "content-length:");
	const char *bytes = strstr(head, "/bytes/");
	unsigned int stream = 0;
	size_t len = 0;

	connection->close_after_answer = strcasestr(head, "connection: close");
	if (strstr(head, "/hang")) {
		connection->state = STATE_HANG;
	} else if (length) {
		connection->upload_len = atol(length + strlen("content-length:"));
		connection->upload_left = connection->upload_len;
		connection->state = STATE_UPLOAD;
	} else {
		if (bytes)
			sscanf(bytes, "/bytes/%zu/%x", &len, &stream);
		answer_bytes(connection, len, stream);
	}
}

static enum step read_head(struct connection *connection)
{
	char *end;
	size_t len;

	connection->in[connection->in_len] = '\0';
	end = strstr(connection->in, "\r\n\r\n");
	if (!end)
		return receive(connection);
	end[2] = '\0';
	len = end + 4 - connection->in;
	start_request(connection, connection->in);
	consume(connection, len);
	return STEP_AGAIN;
}

static enum step read_upload(struct connection *connection)
{
	size_t take = connection->in_len;

	if (take > (size_t)connection->upload_left)
		take = connection->upload_left;
	consume(connection, take);
	connection->upload_left -= take;
	if (connection->upload_left)
		return receive(connection);
	answer_upload(connection);
	return STEP_AGAIN;
}

static void finish_answer(struct connection *connection)
{
	free(connection->answer);
	connection->answer = NULL;
	connection->answer_done = 0;
	connection->state = STATE_HEAD;
	if (connection->close_after_answer) {
		SSL_shutdown(connection->ssl);
		connection->state = STATE_OVER;
	}
}

static enum step write_answer(struct connection *connection)
{
	size_t left = connection->answer_len - connection->answer_done;
	size_t limit = connection->options->write_size;
	int len = ssl_write(connection, connection->answer + connection->answer_done,
			    limit && limit < left ? limit : left);

	if (len <= 0)
		return step_after_error(connection, len);
	connection->answer_done += len;
	if (connection->answer_done == connection->answer_len)
		finish_answer(connection);
	return STEP_AGAIN;
}

/* Waits for the peer to give up. */
static enum step hang(struct connection *connection)
{
	connection->in_len = 0;
	return receive(connection);
}

static enum step take_step(struct connection *connection)
{
	switch (connection->state) {
	case STATE_EARLY_DATA:
		return receive_early_data(connection);
	case STATE_HANDSHAKE:
		return handshake(connection);
	case STATE_HEAD:
		return read_head(connection);
	case STATE_UPLOAD:
		return read_upload(connection);
	case STATE_ANSWER:
		return write_answer(connection);
	case STATE_HANG:
		return hang(connection);
	default:
		return STEP_OVER;
	}
}

enum waiting connection_run(struct connection *connection)
{
	for (;;) {
		switch (take_step(connection)) {
		case STEP_AGAIN:
			break;
		case STEP_READ:
			return WAIT_READ;
		case STEP_WRITE:
			return WAIT_WRITE;
		case STEP_OVER:
			return WAIT_NEVER;
		}
	}
}
