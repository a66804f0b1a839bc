/* BoringSSL as a file without symbols shows it: errors have a reason and a source file, and SSL_read takes what
 * ssl_read_impl left. With SHUFFLED the unused argument of put_error is gone, as in one program linked as a whole. */
#include <stddef.h>
#include <string.h>
#line 1 "../boringssl/ssl/ssl_lib.cc"

struct state {
	int rwstate;
	const char *pending;
	size_t pending_len;
};
struct ssl;
struct method {
	int (*read)(struct ssl *, struct state *);
	int (*write)(struct ssl *, int *needs_handshake, size_t *written, const void *buf,
		     size_t len);
};
typedef struct ssl {
	const struct method *method;
	int (*do_handshake)(struct ssl *);
	struct state *s3;
	int quic;
} SSL;

#define PUBLIC __attribute__((noinline, noclone, used))
#define HIDDEN __attribute__((noinline, noclone)) static
#ifdef SHUFFLED
void put_error(int library, int reason, const char *file, unsigned line);
#define ERROR(reason) put_error(16, reason, __FILE__, __LINE__)
#else
void put_error(int library, int unused, int reason, const char *file, unsigned line);
#define ERROR(reason) put_error(16, 0, reason, __FILE__, __LINE__)
#endif

#ifdef WHOLE
#define IMPL __attribute__((always_inline)) static inline
#else
#define IMPL HIDDEN
#endif

IMPL int ssl_read_impl(SSL *ssl)
{
	ssl->s3->rwstate = 0;
	if (!ssl->do_handshake) {
		ERROR(226);
		return -1;
	}
	while (!ssl->s3->pending_len) {
		int ret = ssl->do_handshake(ssl);
		if (ret == 0)
			ERROR(215);
		if (ret <= 0)
			return -1;
		ssl->method->read(ssl, ssl->s3);
	}
	return 1;
}

#ifdef APART
PUBLIC
#else
__attribute__((always_inline)) static inline
#endif
int peek(SSL *ssl, void *buf, int num)
{
	size_t todo;
	int ret;

	if (ssl->quic) {
		ERROR(66);
		return -1;
	}
	ret = ssl_read_impl(ssl);
	if (ret <= 0 || num <= 0)
		return ret <= 0 ? ret : num;
	todo = ssl->s3->pending_len < (size_t)num ? ssl->s3->pending_len : (size_t)num;
	memcpy(buf, ssl->s3->pending, todo);
	return (int)todo;
}

#ifndef APART
PUBLIC int SSL_peek(SSL *ssl, void *buf, int num)
{
	return peek(ssl, buf, num);
}
#endif

PUBLIC int SSL_read(SSL *ssl, void *buf, int num)
{
	int ret = peek(ssl, buf, num);

	if (ret <= 0)
		return ret;
	ssl->s3->pending += ret;
	ssl->s3->pending_len -= (size_t)ret;
	return ret;
}

#ifdef TWICE
PUBLIC int another_read(SSL *ssl, void *buf, int num)
{
	int ret = peek(ssl, buf, num);

	if (ret <= 0)
		return -ret;
	ssl->s3->pending += ret;
	return ret;
}
#endif

PUBLIC int SSL_write(SSL *ssl, const void *buf, int num)
{
	int ret, needs_handshake = 0;
	size_t written = 0;

	ssl->s3->rwstate = 0;
	if (!ssl->do_handshake) {
		ERROR(226);
		return -1;
	}
	do {
		ret = ssl->do_handshake(ssl);
		if (ret == 0) {
			ERROR(215);
			return -1;
		}
		if (num < 0) {
			ERROR(111);
			return -1;
		}
#ifdef ELSEWHERE
		ret = ssl->method->write(ssl, &needs_handshake, &written, ssl->s3->pending,
					 (size_t)num);
#else
		ret = ssl->method->write(ssl, &needs_handshake, &written, buf, (size_t)num);
#endif
	} while (needs_handshake);
	return ret <= 0 ? ret : (int)written;
}

PUBLIC int SSL_shutdown(SSL *ssl)
{
	if (!ssl->do_handshake) {
		ERROR(226);
		return -1;
	}
	if (ssl_read_impl(ssl) > 0)
		ERROR(291);
	return 1;
}

#ifdef PROGRAM
#ifdef SHUFFLED
PUBLIC void put_error(int library, int reason, const char *file, unsigned line)
#else
PUBLIC void put_error(int library, int unused, int reason, const char *file, unsigned line)
#endif
{
	__asm__ volatile("" ::"r"(library), "r"(reason), "r"(file), "r"(line));
}

int main(int argc, char **argv)
{
	SSL *s = (SSL *)argv;
	return SSL_write(s, argv, argc) + SSL_read(s, argv, argc) + SSL_shutdown(s);
}
#endif
