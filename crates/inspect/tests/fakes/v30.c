/* OpenSSL 1.1.1 to 3.2: one internal function per direction, (s, buf, num, &bytes). */
#include "ssl.h"

HIDDEN int ssl_read_internal(SSL *s, void *buf, size_t num, size_t *readbytes)
{
	if (!s->method) {
		complain(s, 1);
		return -1;
	}
	return s->method->ssl_read(s, buf, num, readbytes);
}

HIDDEN int ssl_peek_internal(SSL *s, void *buf, size_t num, size_t *readbytes)
{
	if (!s->method) {
		complain(s, 2);
		return -1;
	}
	return s->method->ssl_read(s, buf, num, readbytes);
}

HIDDEN int ssl_write_internal(SSL *s, const void *buf, size_t num, size_t *written)
{
	if (!s->method) {
		complain(s, 3);
		return -1;
	}
	return s->method->ssl_write(s, buf, num, written);
}

#ifdef SPLIT
/* Two functions that do the same are still two functions. */
HIDDEN int other_read_internal(SSL *s, void *buf, size_t num, size_t *readbytes)
{
	complain(s, 4);
	return s->method->ssl_read(s, buf, num, readbytes);
}
#define READ_EX other_read_internal
#else
#define READ_EX ssl_read_internal
#endif

#define WRAPPERS(name, ex, constness)                                   \
	int SSL_##name(SSL *s, constness void *buf, int num)            \
	{                                                               \
		size_t bytes;                                           \
		int ret;                                                \
		if (num < 0) {                                          \
			complain(s, num);                               \
			return -1;                                      \
		}                                                       \
		ret = ssl_##name##_internal(s, buf, (size_t)num, &bytes); \
		return ret > 0 ? (int)bytes : ret;                      \
	}                                                               \
	int SSL_##name##_ex(SSL *s, constness void *buf, size_t num, size_t *bytes) \
	{                                                               \
		int ret = ex(s, buf, num, bytes);                       \
		return ret < 0 ? 0 : ret;                               \
	}

WRAPPERS(read, READ_EX, )
WRAPPERS(peek, ssl_peek_internal, )
WRAPPERS(write, ssl_write_internal, const)

int SSL_read_early_data(SSL *s, void *buf, size_t num, size_t *bytes)
{
	return SSL_read_ex(s, buf, num, bytes) ? 1 : 2;
}
