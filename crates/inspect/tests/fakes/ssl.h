/* The shape of OpenSSL's ssl/ssl_lib.c, without the TLS. */
#include <stddef.h>

typedef struct ssl SSL;
struct method {
	int (*ssl_read)(SSL *, void *, size_t, size_t *);
	int (*ssl_write)(SSL *, const void *, size_t, size_t *);
};
struct ssl {
	int quic;
	const struct method *method;
	int error;
};

/* From another library, like ERR_*: the compiler cannot see which registers it leaves alone. */
void complain(SSL *s, int line);

#define HIDDEN __attribute__((noinline, noclone)) static
