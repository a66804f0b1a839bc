/* OpenSSL as a file without symbols shows it: errors name their function and source file, with NUMBERS by a number, as
 * before 3.0. With FLAGS the out argument is the fifth, as since 3.3. */
#include "ssl.h"
#line 1 "../ssl/ssl_lib.c"

#ifdef NUMBERS
void put_error(int library, int function, int reason, const char *file, int line);
#define ERROR(function) put_error(20, function, 0x10f, __FILE__, __LINE__)
#else
void report(const char *file, int line, const char *function);
#define ERROR(function) report(__FILE__, __LINE__, __func__)
#endif

#ifdef FLAGS
#define WRITE_EX SSL_write_ex2
#define FLAGS_PARAMETER size_t flags,
#define NO_FLAGS 0,
#else
#define WRITE_EX SSL_write_ex
#define FLAGS_PARAMETER
#define NO_FLAGS
#endif
#ifdef COLD
#define RARELY(condition) __builtin_expect(condition, 0)
__attribute__((cold)) void put_error(int library, int function, int reason, const char *file,
				     int line);
__attribute__((cold)) void report(const char *file, int line, const char *function);
#else
#define RARELY(condition) (condition)
#endif
#ifdef INLINED
#define MAYBE_INLINED __attribute__((always_inline)) static inline
#else
#define MAYBE_INLINED HIDDEN
#endif

MAYBE_INLINED int ssl_read_internal(SSL *s, void *buf, size_t num, size_t *readbytes)
{
	if (RARELY(!s->method)) {
		ERROR(523);
		return -1;
	}
	complain(s, 1);
	return s->method->ssl_read(s, buf, num, readbytes);
}

MAYBE_INLINED int ssl_write_internal(SSL *s, const void *buf, size_t num,
				     FLAGS_PARAMETER size_t *written)
{
	if (RARELY(!s->method)) {
		ERROR(524);
		return -1;
	}
#ifdef FLAGS
	if (flags)
		complain(s, (int)flags);
#endif
	complain(s, 2);
#ifdef OTHER
	return (int)(*written = s->error);
#else
	return s->method->ssl_write(s, buf, num, written);
#endif
}

int SSL_read(SSL *s, void *buf, int num)
{
	size_t bytes;
	int ret;

	if (num < 0) {
		ERROR(223);
		return -1;
	}
	ret = ssl_read_internal(s, buf, (size_t)num, &bytes);
	return ret > 0 ? (int)bytes : ret;
}

int SSL_read_ex(SSL *s, void *buf, size_t num, size_t *bytes)
{
	int ret = ssl_read_internal(s, buf, num, bytes);
	return ret < 0 ? 0 : ret;
}

int SSL_write(SSL *s, const void *buf, int num)
{
	size_t bytes;
	int ret;

	if (num < 0) {
		ERROR(208);
		return -1;
	}
	ret = ssl_write_internal(s, buf, (size_t)num, NO_FLAGS & bytes);
	return ret > 0 ? (int)bytes : ret;
}

int WRITE_EX(SSL *s, const void *buf, size_t num, FLAGS_PARAMETER size_t *bytes)
{
#ifdef FLAGS
	int ret = ssl_write_internal(s, buf, num, flags, bytes);
#else
	int ret = ssl_write_internal(s, buf, num, bytes);
#endif
	return ret < 0 ? 0 : ret;
}

int SSL_clear(SSL *s)
{
	if (!s->method) {
		ERROR(164);
		return 0;
	}
	complain(s, 0);
	return 1;
}

/* Bindings have the same names in other files. */
#line 1 "bindings.c"
void wrapper(void)
{
	static const char name[] = "ssl_read_internal";
	complain((void *)name, 1);
}

#ifdef TWICE
#line 1 "ssl/ssl_lib.c"
int another(SSL *s)
{
#ifdef NUMBERS
	put_error(20, 524, 1, "ssl/ssl_lib.c", 2);
#else
	report("ssl/ssl_lib.c", 2, "ssl_write_internal");
#endif
	return s->error;
}
#endif

#ifdef PROGRAM
void complain(SSL *s, int line)
{
	s->error = line;
	__asm__ volatile("" ::: "memory");
}
#ifdef NUMBERS
void put_error(int library, int function, int reason, const char *file, int line)
{
	__asm__ volatile("" ::"r"(library), "r"(function), "r"(reason), "r"(file), "r"(line));
}
#else
void report(const char *file, int line, const char *function)
{
	__asm__ volatile("" ::"r"(file), "r"(line), "r"(function));
}
#endif
int main(int argc, char **argv)
{
	SSL *s = (SSL *)argv;
	size_t n = 0;
	wrapper();
	return SSL_read(s, argv, argc) + SSL_write(s, argv, argc) + SSL_read_ex(s, argv, n, &n) +
	       SSL_clear(s);
}
#endif
