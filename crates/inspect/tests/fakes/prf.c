/* How OpenSSL computes the keys of TLS 1.2 from the master secret. */
#include <stddef.h>

#define EXPORTED __attribute__((visibility("default"), noinline))
#define NOT_INLINED __attribute__((noinline, noclone, noipa))

struct session {
	int version, length;
	unsigned char master[48];
};

struct state {
	long flags;
	unsigned char server_random[32], client_random[32];
};

typedef struct ssl {
	long type;
	struct state *s3;
	struct session *session;
	unsigned char *block;
	int size;
} SSL;

void ERR_put_error(int library, int function, int reason, const char *file, int line);
int PRF(SSL *s, const char *label, int label_size, const void *one, int one_size, const void *other,
	int other_size, const void *none, int none_size, const void *secret, int size, void *out,
	int out_size);
int PRF_secret_first(SSL *s, const void *secret, int size, const char *label, int label_size,
		     const void *one, int one_size, const void *other, int other_size, void *out,
		     int out_size);
int P_hash(const void *md, const void *secret, int size, const char *label, int label_size,
	   const void *one, int one_size, const void *other, int other_size, void *out,
	   int out_size);

NOT_INLINED int setup_key_block(SSL *s)
{
	const unsigned char *server = s->s3->server_random, *client = s->s3->client_random;
	const unsigned char *master = s->session->master;

	if (!s->block) {
		ERR_put_error(20, 211, 65, "ssl/ssl_lib.c", 1);
		return 0;
	}
#if defined(SECRET_FIRST)
	return PRF_secret_first(s, master, s->session->length, "key expansion", 13, server, 32,
				client, 32, s->block, s->size);
#elif defined(HALVES)
	int half = s->session->length / 2;

	return P_hash(s->block, master, half, "key expansion", 13, server, 32, client, 32, s->block,
		      s->size) &&
	       P_hash(s->block, master + half, half, "key expansion", 13, server, 32, client, 32,
		      s->block, s->size);
#else
	return PRF(s, "key expansion", 13, server, 32, client, 32, NULL, 0, master,
		   s->session->length, s->block, s->size);
#endif
}

EXPORTED int SSL_read(SSL *s)
{
	return setup_key_block(s) + 1;
}

EXPORTED int SSL_write(SSL *s)
{
	return setup_key_block(s) + 2;
}
