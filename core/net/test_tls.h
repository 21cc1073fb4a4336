/*
 * test_tls - the other end of TLS for tests of this floor: a server in memory, with certificates made by the openssl program.
 */
#ifndef HG_NET_TEST_TLS_H
#define HG_NET_TEST_TLS_H

#include <dlfcn.h>
#include "net/test_support.h"
#include "net/tls.h"
#include "net/tls_library.h"

struct test_pki {
    char dir[64], ca[96], cert[96], key[96];
};

/* A certificate for `localhost` and 127.0.0.1 that is its own authority. */
static inline void test_pki_make(struct test_pki *pki)
{
    char command[700];
    snprintf(pki->dir, sizeof(pki->dir), "/tmp/hgcache-tls-%d", (int)getpid());
    snprintf(pki->cert, sizeof(pki->cert), "%s/cert.pem", pki->dir);
    snprintf(pki->ca, sizeof(pki->ca), "%s/cert.pem", pki->dir);
    snprintf(pki->key, sizeof(pki->key), "%s/key.pem", pki->dir);
    snprintf(
        command, sizeof(command),
        "mkdir -p %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        "-days 2 -subj /CN=test -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -out %s "
        "-keyout %s >%s/log 2>&1",
        pki->dir, pki->cert, pki->key, pki->dir);
    assert_int_equal(system(command), 0);
}

static inline void test_pki_remove(struct test_pki *pki)
{
    char command[100];
    snprintf(command, sizeof(command), "rm -rf %s", pki->dir);
    assert_int_equal(system(command), 0);
}

/* What only a server calls. */
struct test_tls_server {
    SSL_CTX *ctx;
    void (*accept)(SSL *);
};

static inline void test_tls_server_open(struct test_tls_server *server, const struct test_pki *pki,
                                        int version)
{
    assert_int_equal(hg_ssl_load(), HG_OK);
    void *library = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    const SSL_METHOD *(*method)(void);
    int (*use_cert)(SSL_CTX *, const char *, int), (*use_key)(SSL_CTX *, const char *, int);
    *(void **)(void *)&method = dlsym(library, "TLS_server_method");
    *(void **)(void *)&use_cert = dlsym(library, "SSL_CTX_use_certificate_file");
    *(void **)(void *)&use_key = dlsym(library, "SSL_CTX_use_PrivateKey_file");
    *(void **)(void *)&server->accept = dlsym(library, "SSL_set_accept_state");
    server->ctx = hg_ssl->SSL_CTX_new(method());
    assert_non_null(server->ctx);
    assert_int_equal(use_cert(server->ctx, pki->cert, SSL_FILETYPE_PEM), 1);
    assert_int_equal(use_key(server->ctx, pki->key, SSL_FILETYPE_PEM), 1);
    hg_ssl->SSL_CTX_ctrl(server->ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, version, NULL);
    hg_ssl->SSL_CTX_ctrl(server->ctx, SSL_CTRL_SET_MAX_PROTO_VERSION, version, NULL);
}

static inline void test_tls_server_close(struct test_tls_server *server)
{
    hg_ssl->SSL_CTX_free(server->ctx);
}

struct test_end {
    SSL *ssl;
    BIO *in, *out;
    bool is_done; /* the handshake */
};

static inline void test_end_open(struct test_end *end, const struct test_tls_server *server)
{
    *end = (struct test_end){.ssl = hg_ssl->SSL_new(server->ctx)};
    end->in = hg_ssl->BIO_new(hg_ssl->BIO_s_mem());
    end->out = hg_ssl->BIO_new(hg_ssl->BIO_s_mem());
    hg_ssl->BIO_ctrl(end->in, BIO_C_SET_BUF_MEM_EOF_RETURN, -1, NULL);
    hg_ssl->SSL_set_bio(end->ssl, end->in, end->out);
    server->accept(end->ssl);
}

static inline void test_end_finish(struct test_end *end)
{
    hg_ssl->SSL_free(end->ssl);
}

static inline void test_end_feed(struct test_end *end, struct hg_bytes bytes)
{
    if (bytes.len > 0)
        assert_int_equal(hg_ssl->BIO_write(end->in, bytes.data, (int)bytes.len), bytes.len);
    if (!end->is_done)
        end->is_done = hg_ssl->SSL_do_handshake(end->ssl) == 1;
    hg_ssl->ERR_clear_error();
}

/* Bytes as they go out: at most size. */
static inline size_t test_end_output(struct test_end *end, char *out, size_t size)
{
    int count = hg_ssl->BIO_read(end->out, out, (int)size);
    return count > 0 ? (size_t)count : 0;
}

static inline void test_end_say(struct test_end *end, const char *text)
{
    assert_int_equal(hg_ssl->SSL_write(end->ssl, text, (int)strlen(text)), strlen(text));
}

/* What the client said; at most size. */
static inline size_t test_end_hear(struct test_end *end, char *out, size_t size)
{
    int count = hg_ssl->SSL_read(end->ssl, out, (int)size);
    hg_ssl->ERR_clear_error();
    return count > 0 ? (size_t)count : 0;
}

#endif
