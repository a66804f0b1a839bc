/* OpenSSL 3.3 and later: flags before the out argument, SSL_write_ex goes through SSL_write_ex2. With
 * INLINED the internal function is part of its callers, as in Node.js 24: what they share is for QUIC. */
#include "ssl.h"

HIDDEN int quic_write_flags(SSL *s, const void *buf, size_t num, size_t flags, size_t *written)
{
	complain(s, (int)flags);
	*written = num;
	return buf != NULL;
}

#ifdef INLINED
__attribute__((always_inline)) inline
#else
__attribute__((noinline, noclone))
#endif
static int ssl_write_internal(SSL *s, const void *buf, size_t num, size_t flags, size_t *written)
{
	if (!s->method) {
		complain(s, 3);
		return -1;
	}
	if (s->quic)
		return quic_write_flags(s, buf, num, flags, written);
	if (flags)
		complain(s, 4);
	return s->method->ssl_write(s, buf, num, written);
}

int SSL_write(SSL *s, const void *buf, int num)
{
	size_t written;
	int ret;

	if (num < 0) {
		complain(s, num);
		return -1;
	}
	ret = ssl_write_internal(s, buf, (size_t)num, 0, &written);
	return ret > 0 ? (int)written : ret;
}

int SSL_write_ex2(SSL *s, const void *buf, size_t num, size_t flags, size_t *written)
{
	int ret = ssl_write_internal(s, buf, num, flags, written);

	return ret < 0 ? 0 : ret;
}

int SSL_write_ex(SSL *s, const void *buf, size_t num, size_t *written)
{
	return SSL_write_ex2(s, buf, num, 0, written);
}

int SSL_peek(SSL *s, void *buf, int num)
{
	complain(s, num);
	return buf != NULL;
}
