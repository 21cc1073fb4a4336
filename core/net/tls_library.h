/*
 * tls_library - OpenSSL, loaded when it is first needed, like libcurl (net/curl_library.h).
 *
 * Threads    load from any; hg_ssl is set once and may be read by whoever called load.
 */
#ifndef HG_NET_TLS_LIBRARY_H
#define HG_NET_TLS_LIBRARY_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/* The functions that we use; what OpenSSL has as macros is written out in tls.c. */
#define HG_SSL_FUNCTIONS(X)                                                                        \
    X(OPENSSL_init_ssl)                                                                            \
    X(TLS_client_method)                                                                           \
    X(SSL_CTX_new) X(SSL_CTX_free) X(SSL_CTX_ctrl) X(SSL_CTX_set_options)                          \
        X(SSL_CTX_set_default_verify_paths) X(SSL_CTX_load_verify_file) X(SSL_CTX_sess_set_new_cb) \
            X(SSL_new) X(SSL_free) X(SSL_ctrl) X(SSL_set_bio) X(SSL_set_connect_state)             \
                X(SSL_set_verify) X(SSL_get0_param) X(SSL_get_verify_result) X(SSL_do_handshake)   \
                    X(SSL_read) X(SSL_write) X(SSL_shutdown) X(SSL_set_shutdown) X(SSL_get_error)  \
                        X(SSL_set_ex_data) X(SSL_get_ex_data) X(SSL_set_session)                   \
                            X(SSL_session_reused) X(SSL_SESSION_free) X(SSL_SESSION_up_ref)        \
                                X(SSL_SESSION_is_resumable) X(BIO_new) X(BIO_s_mem) X(BIO_free)    \
                                    X(BIO_read) X(BIO_write) X(BIO_ctrl)                           \
                                        X(X509_VERIFY_PARAM_set1_host)                             \
                                            X(X509_VERIFY_PARAM_set1_ip_asc)                       \
                                                X(X509_VERIFY_PARAM_set_hostflags)                 \
                                                    X(X509_verify_cert_error_string)               \
                                                        X(ERR_clear_error) X(ERR_peek_error)       \
                                                            X(ERR_reason_error_string)

struct hg_ssl {
#define X(name) __typeof__(&name) name;
    HG_SSL_FUNCTIONS(X)
#undef X
};

extern const struct hg_ssl *hg_ssl;

/* HG_OK with hg_ssl set, or HG_EIO: there is no libssl.so.3, or it does not start. The first call decides. */
int hg_ssl_load(void);

#endif
