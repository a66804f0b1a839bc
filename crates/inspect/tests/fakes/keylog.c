/* What OpenSSL does with the names of secrets, and where it keeps the secrets. */
#include <stddef.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default"), noinline))
#define NOT_INLINED __attribute__((noinline, noclone, noipa))

struct session {
	long version;
	size_t length;
	unsigned char master[48];
};

struct random {
	long flags;
	unsigned char client[32], server[32];
	struct session *established;
	struct handshake *handshake;
};

typedef struct ssl {
	int type;
	struct random *s3;
	struct session *session;
	void (*callback)(const struct ssl *, const char *);
	unsigned char exporter[64], early_exporter[64];
	int done;
	struct ssl *inner;
} SSL;

struct handshake {
	SSL *ssl;
	struct session *session;
};

void expand(SSL *s, unsigned char *out, size_t size);
void line(const SSL *s, const char *text, size_t size);

/* Since 3.2 an object may be one of QUIC. */
#ifdef QUIC
#define TLS(s) ((s)->type == 0 ? (s) : (s)->inner)
#else
#define TLS(s) (s)
#endif

NOT_INLINED int nss_keylog_int(const char *label, SSL *s, const unsigned char *random,
			       size_t random_size, const unsigned char *secret, size_t size)
{
	char text[512];
	size_t at = strlen(label);

	if (!s->callback)
		return 1;
	memcpy(text, label, at);
	for (size_t i = 0; i < random_size; i++, at += 2)
		text[at] = "0123456789abcdef"[random[i] >> 4];
	for (size_t i = 0; i < size; i++, at += 2)
		text[at] = "0123456789abcdef"[secret[i] >> 4];
	line(s, text, at);
	s->callback(s, text);
	return 1;
}

NOT_INLINED int ssl_log_secret(SSL *s, const char *label, const unsigned char *secret, size_t size)
{
#ifdef INLINED
	char text[512];
	size_t at = strlen(label);

	memcpy(text, label, at);
	for (size_t i = 0; i < 32; i++, at += 2)
		text[at] = "0123456789abcdef"[s->s3->client[i] >> 4];
	for (size_t i = 0; i < size; i++, at += 2)
		text[at] = "0123456789abcdef"[secret[i] >> 4];
	line(s, text, at);
	return 1;
#else
	return nss_keylog_int(label, s, s->s3->client, 32, secret, size);
#endif
}

#ifdef MERGED
#define LOG(s, label, secret, size) nss_keylog_int(label, s, (s)->s3->client, 32, secret, size)
#else
#define LOG ssl_log_secret
#endif

#ifdef ASTRAY
NOT_INLINED int other(SSL *s, const char *label, const unsigned char *secret, size_t size)
{
	line(s, label, size + secret[0]);
	return 2;
}
#else
#define other LOG
#endif

NOT_INLINED int finished(SSL *s)
{
#ifdef ESTABLISHED
	struct session *session = s->s3->handshake->session;
#else
	struct session *session = s->session;
#endif

	return LOG(s, "CLIENT_RANDOM", session->master, session->length);
}

NOT_INLINED int secrets(SSL *s, int client, size_t size)
{
	unsigned char secret[64];
	const char *label = client ? "CLIENT_TRAFFIC_SECRET_0" : "SERVER_TRAFFIC_SECRET_0";

	expand(s, secret, size);
	if (!client) {
		expand(s, s->exporter, size);
		if (!LOG(s, "EXPORTER_SECRET", s->exporter, size))
			return 0;
	}
#ifndef ESTABLISHED
	expand(s, s->early_exporter, size);
	if (!other(s, "EARLY_EXPORTER_SECRET", s->early_exporter, size))
		return 0;
#endif
	return LOG(s, label, secret, size);
}

EXPORTED int SSL_read(SSL *s)
{
	return finished(s) + 1;
}

EXPORTED int SSL_write(SSL *s, int client, int size)
{
	return secrets(s, client, (size_t)size) + 2;
}

EXPORTED int SSL_do_handshake(SSL *s)
{
	s->done = 1;
	return 1;
}

#ifndef NO_ACCESSORS
EXPORTED size_t SSL_get_client_random(const SSL *s, unsigned char *out, size_t size)
{
#ifdef DISAGREE
	const unsigned char *random = TLS(s)->s3->server;
#else
	const unsigned char *random = TLS(s)->s3->client;
#endif
	if (size == 0)
		return 32;
	if (size > 32)
		size = 32;
	memcpy(out, random, size);
	return size;
}

EXPORTED struct session *SSL_get_session(const SSL *s)
{
#ifdef ESTABLISHED
	/* BoringSSL has sessions of a handshake, too. */
	if (s->s3->established)
		return s->s3->established;
	if (s->s3->handshake->session)
		return s->s3->handshake->session;
#endif
	return TLS(s)->session;
}

EXPORTED size_t SSL_SESSION_get_master_key(const struct session *session, unsigned char *out,
					   size_t size)
{
	if (size == 0)
		return session->length;
	if (size > session->length)
		size = session->length;
	memcpy(out, session->master, size);
	return size;
}
#endif
