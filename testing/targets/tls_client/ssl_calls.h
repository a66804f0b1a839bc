/*
 * Where the client gets OpenSSL from.
 *
 * Linked (default): nothing happens here. With -DDLOPEN every call goes through
 * dlsym() on the libraries named by the environment variables LIBSSL and
 * LIBCRYPTO, as plug-ins and language runtimes do.
 */
#ifndef SSL_CALLS_H
#define SSL_CALLS_H

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

/* Must run before the first call of OpenSSL; ends the program on failure. */
void load_openssl(void);

#ifdef DLOPEN

void *openssl_symbol(const char *name);

/* A macro does not expand inside itself, so the name below stays a name. */
#define DYNAMIC(name) ((__typeof__(&name))openssl_symbol(#name))

#define BIO_free DYNAMIC(BIO_free)
#define BIO_new DYNAMIC(BIO_new)
#define BIO_read DYNAMIC(BIO_read)
#define BIO_s_mem DYNAMIC(BIO_s_mem)
#define BIO_write DYNAMIC(BIO_write)
#define SSL_CTX_ctrl DYNAMIC(SSL_CTX_ctrl)
#define SSL_CTX_new DYNAMIC(SSL_CTX_new)
#define SSL_CTX_set_keylog_callback DYNAMIC(SSL_CTX_set_keylog_callback)
#define SSL_SESSION_free DYNAMIC(SSL_SESSION_free)
#define SSL_SESSION_get_max_early_data DYNAMIC(SSL_SESSION_get_max_early_data)
#define SSL_clear DYNAMIC(SSL_clear)
#define SSL_connect DYNAMIC(SSL_connect)
#define SSL_ctrl DYNAMIC(SSL_ctrl)
#define SSL_free DYNAMIC(SSL_free)
#define SSL_get1_session DYNAMIC(SSL_get1_session)
#define SSL_get_early_data_status DYNAMIC(SSL_get_early_data_status)
#define SSL_get_error DYNAMIC(SSL_get_error)
#define SSL_new DYNAMIC(SSL_new)
#define SSL_peek DYNAMIC(SSL_peek)
#define SSL_read DYNAMIC(SSL_read)
#define SSL_read_ex DYNAMIC(SSL_read_ex)
#define SSL_set_bio DYNAMIC(SSL_set_bio)
#define SSL_set_fd DYNAMIC(SSL_set_fd)
#define SSL_set_session DYNAMIC(SSL_set_session)
#define SSL_shutdown DYNAMIC(SSL_shutdown)
#define SSL_write DYNAMIC(SSL_write)
#define SSL_write_early_data DYNAMIC(SSL_write_early_data)
#define SSL_write_ex DYNAMIC(SSL_write_ex)
#define TLS_client_method DYNAMIC(TLS_client_method)

#endif
#endif
