#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "../sockets.h"
#include "exchange.h"

#define MAX_THREADS 16
#define POLL_MS 100

struct shared {
	struct exchange *exchange;
	int wanted; /* answers that the reader has at the end of this connection */
	pthread_mutex_t lock; /* for everything below and in the exchange */
	bool failed;
	bool ended;
};

/* Sends part of a message; waits outside of the lock. */
static bool write_shared(struct shared *shared, const char *data, size_t len)
{
	struct stream *stream = shared->exchange->stream;
	size_t limit = stream->options->write_size;

	while (len > 0) {
		size_t piece = limit && limit < len ? limit : len;
		int written, error;

		pthread_mutex_lock(&shared->lock);
		written = stream_write_once(stream, data, piece);
		error = written > 0 ? SSL_ERROR_NONE : SSL_get_error(stream->ssl, written);
		pthread_mutex_unlock(&shared->lock);
		if (error == SSL_ERROR_NONE) {
			data += written;
			len -= written;
		} else if (error == SSL_ERROR_WANT_WRITE) {
			wait_for(stream->fd, POLLOUT, POLL_MS);
		} else if (error == SSL_ERROR_WANT_READ) {
			wait_for(stream->fd, POLLIN, POLL_MS);
		} else {
			return false;
		}
	}
	return true;
}

static void *write_requests(void *arg)
{
	struct shared *shared = arg;
	struct exchange *exchange = shared->exchange;
	const struct options *options = exchange->stream->options;

	for (int i = 0; i < options->requests; i++) {
		char head[REQUEST_HEAD_MAX];
		size_t len = http_request_head(head, options, exchange->connection, i);

		if (!write_shared(shared, head, len) ||
		    !write_shared(shared, exchange->upload->data, exchange->upload->len)) {
			pthread_mutex_lock(&shared->lock);
			shared->failed = true;
			pthread_mutex_unlock(&shared->lock);
			break;
		}
	}
	return NULL;
}

/* One read under the lock. Returns true when nothing was there to read. */
static bool read_once(struct shared *shared, char *buf, size_t size)
{
	struct exchange *exchange = shared->exchange;
	struct stream *stream = exchange->stream;
	bool idle = false;
	int len;

	pthread_mutex_lock(&shared->lock);
	if (!shared->ended && !shared->failed) {
		len = stream_read_once(stream, buf, size);
		if (len > 0) {
			shared->failed = !http_feed(exchange->reader, buf, len);
			shared->ended = exchange->reader->answers >= shared->wanted;
		} else {
			int error = SSL_get_error(stream->ssl, len);

			idle = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
			shared->ended = !idle;
		}
	}
	pthread_mutex_unlock(&shared->lock);
	return idle;
}

static bool is_over(struct shared *shared)
{
	bool over;

	pthread_mutex_lock(&shared->lock);
	over = shared->ended || shared->failed;
	pthread_mutex_unlock(&shared->lock);
	return over;
}

static void *read_in_turns(void *arg)
{
	struct shared *shared = arg;
	struct exchange *exchange = shared->exchange;
	const struct options *options = exchange->stream->options;
	char *buf = malloc(options->read_size);

	while (!is_over(shared)) {
		if (read_once(shared, buf, options->read_size))
			wait_for(exchange->stream->fd, POLLIN, POLL_MS);
		else
			sched_yield();
	}
	free(buf);
	return NULL;
}

bool exchange_in_threads(struct exchange *exchange)
{
	struct shared shared = {
		.exchange = exchange,
		.wanted = exchange->reader->answers + exchange->stream->options->requests,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	int count = exchange->stream->options->threads;
	pthread_t threads[MAX_THREADS];

	if (count > MAX_THREADS)
		count = MAX_THREADS;
	pthread_create(&threads[0], NULL, write_requests, &shared);
	for (int i = 1; i < count; i++)
		pthread_create(&threads[i], NULL, read_in_turns, &shared);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return !shared.failed;
}
