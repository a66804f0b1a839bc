#include "stream.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "../sockets.h"

#define IO_TIMEOUT_MS 5000

static bool open_socket(struct stream *stream)
{
	const struct options *options = stream->options;

	stream->fd = options->unix_socket ? connect_unix(options->unix_socket) :
					    connect_tcp(options->host, options->port);
	return stream->fd >= 0;
}

static void use_memory_bios(struct stream *stream)
{
	stream->from_peer = BIO_new(BIO_s_mem());
	stream->to_peer = BIO_new(BIO_s_mem());
	SSL_set_bio(stream->ssl, stream->from_peer, stream->to_peer);
	set_nonblocking(stream->fd);
}

bool stream_open(struct stream *stream, SSL_CTX *ctx)
{
	const struct options *options = stream->options;

	if (!open_socket(stream))
		return false;
	if (stream->ssl)
		SSL_clear(stream->ssl);
	else
		stream->ssl = SSL_new(ctx);
	if (options->partial_write)
		SSL_set_mode(stream->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
	if (options->memory_bio)
		use_memory_bios(stream);
	else
		SSL_set_fd(stream->ssl, stream->fd);
	return true;
}

/* Memory BIOs: moves what OpenSSL produced to the socket. */
static void flush_to_socket(struct stream *stream)
{
	char buf[16384];
	int len;

	while (stream->to_peer && (len = BIO_read(stream->to_peer, buf, sizeof(buf))) > 0) {
		for (int done = 0; done < len;) {
			ssize_t n = write(stream->fd, buf + done, len - done);

			if (n > 0)
				done += n;
			else if (errno != EAGAIN || !wait_for(stream->fd, POLLOUT, IO_TIMEOUT_MS))
				return;
		}
	}
}

/* Memory BIOs: moves ciphertext from the socket to OpenSSL, in odd pieces. */
static enum progress fill_from_socket(struct stream *stream)
{
	char buf[4097];
	ssize_t len;

	wait_for(stream->fd, POLLIN, IO_TIMEOUT_MS);
	len = read(stream->fd, buf, sizeof(buf));
	if (len <= 0)
		return PROGRESS_FAILED;
	BIO_write(stream->from_peer, buf, len);
	return PROGRESS_AGAIN;
}

enum progress stream_wait(struct stream *stream, int result)
{
	int error = SSL_get_error(stream->ssl, result);

	flush_to_socket(stream);
	if (error == SSL_ERROR_WANT_READ && stream->from_peer)
		return fill_from_socket(stream);
	if (error == SSL_ERROR_WANT_READ)
		wait_for(stream->fd, POLLIN, IO_TIMEOUT_MS);
	else if (error == SSL_ERROR_WANT_WRITE)
		wait_for(stream->fd, POLLOUT, IO_TIMEOUT_MS);
	else
		return PROGRESS_FAILED;
	return PROGRESS_AGAIN;
}

bool stream_handshake(struct stream *stream)
{
	int result;

	if (stream->options->nonblocking || stream->options->threads)
		set_nonblocking(stream->fd);
	while ((result = SSL_connect(stream->ssl)) != 1) {
		if (stream_wait(stream, result) == PROGRESS_FAILED) {
			fprintf(stderr, "tls_client: handshake failed\n");
			return false;
		}
	}
	flush_to_socket(stream);
	return true;
}

int stream_write_once(struct stream *stream, const char *data, size_t len)
{
	size_t written = 0;

	if (!stream->options->ex_calls)
		return SSL_write(stream->ssl, data, len);
	return SSL_write_ex(stream->ssl, data, len, &written) == 1 ? (int)written : -1;
}

bool stream_write(struct stream *stream, const char *data, size_t len)
{
	size_t limit = stream->options->write_size;

	while (len > 0) {
		size_t piece = limit && limit < len ? limit : len;
		int written = stream_write_once(stream, data, piece);

		flush_to_socket(stream);
		if (written > 0) {
			data += written;
			len -= written;
		} else if (stream_wait(stream, written) == PROGRESS_FAILED) {
			return false;
		}
	}
	return true;
}

int stream_read_once(struct stream *stream, char *buf, size_t size)
{
	size_t received = 0;

	if (stream->options->nonblocking) {
		size_t odd = stream->reads++ * 37 % 1000 + 1;

		size = odd < size ? odd : size;
	}
	if (!stream->options->ex_calls)
		return SSL_read(stream->ssl, buf, size);
	return SSL_read_ex(stream->ssl, buf, size, &received) == 1 ? (int)received : -1;
}

size_t stream_read(struct stream *stream, char *buf, size_t size)
{
	for (;;) {
		int received;

		if (stream->options->peek) {
			char peeked[64];

			SSL_peek(stream->ssl, peeked, sizeof(peeked));
		}
		received = stream_read_once(stream, buf, size);
		if (received > 0)
			return received;
		if (stream_wait(stream, received) == PROGRESS_FAILED)
			return 0;
	}
}

void stream_close(struct stream *stream)
{
	SSL_shutdown(stream->ssl);
	flush_to_socket(stream);
	if (!stream->options->reuse_ssl) {
		SSL_free(stream->ssl);
		stream->ssl = NULL;
	}
	stream->from_peer = NULL;
	stream->to_peer = NULL;
	close(stream->fd);
}
