#include "net/tls.h"

#include <arpa/inet.h>
#include <assert.h>
#include <limits.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "net/tls_library.h"

/* Plain bytes that one step reads. */
#define READ_BYTES 4096

/* A name is one of the certificate's alternative names, and a wildcard one whole label. */
#define HOST_FLAGS                                                                                 \
    (X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |                  \
     X509_CHECK_FLAG_SINGLE_LABEL_SUBDOMAINS)

struct hg_tls_context {
    SSL_CTX *ctx;
};

struct hg_tls_session {
    size_t refs;
    SSL_SESSION *session; /* NULL: its server has sent none yet */
    bool is_verified;
    char server_name[];
};

struct hg_tls {
    SSL *ssl;
    BIO *in, *out; /* the SSL's */
    struct hg_tls_session *session;
    int err; /* of reading, once there is one */
    char error[160];
};

/* The server has sent a ticket, perhaps long after the handshake: 1 keeps it. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct hg_tls *tls = hg_ssl->SSL_get_ex_data(ssl, 0);

    hg_ssl->SSL_SESSION_free(tls->session->session);
    tls->session->session = session;
    return 1;
}

int hg_tls_context_create(const char *ca_file, struct hg_tls_context **out_context)
{
    int err = hg_ssl_load();
    if (err < 0)
        return err;
    struct hg_tls_context *context = hg_calloc(1, sizeof(*context));
    if (context == NULL)
        return HG_ENOMEM;
    SSL_CTX *ctx = context->ctx = hg_ssl->SSL_CTX_new(hg_ssl->TLS_client_method());
    if (ctx == NULL) {
        hg_free(context);
        return HG_ENOMEM;
    }
    hg_ssl->SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    hg_ssl->SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    hg_ssl->SSL_CTX_ctrl(ctx, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, NULL);
    hg_ssl->SSL_CTX_ctrl(ctx, SSL_CTRL_SET_SESS_CACHE_MODE,
                         SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL, NULL);
    hg_ssl->SSL_CTX_sess_set_new_cb(ctx, on_new_session);
    int is_read = ca_file != NULL ? hg_ssl->SSL_CTX_load_verify_file(ctx, ca_file)
                                  : hg_ssl->SSL_CTX_set_default_verify_paths(ctx);
    hg_ssl->ERR_clear_error();
    if (is_read != 1) {
        hg_tls_context_destroy(context);
        return HG_EINVAL;
    }
    *out_context = context;
    return HG_OK;
}

void hg_tls_context_destroy(struct hg_tls_context *context)
{
    if (context == NULL)
        return;
    hg_ssl->SSL_CTX_free(context->ctx);
    hg_free(context);
}

static struct hg_tls_session *session_create(const struct hg_tls_options *options)
{
    const char *name = options->server_name != NULL ? options->server_name : "";
    size_t len = strlen(name);
    struct hg_tls_session *session = hg_calloc(1, sizeof(*session) + len + 1);
    if (session == NULL)
        return NULL;
    session->refs = 1;
    session->is_verified = options->verify;
    memcpy(session->server_name, name, len);
    return session;
}

void hg_tls_session_unref(struct hg_tls_session *session)
{
    if (session == NULL || --session->refs > 0)
        return;
    hg_ssl->SSL_SESSION_free(session->session);
    hg_free(session);
}

/* A session that was not checked, or for another name, proves nothing here. */
static bool fits(const struct hg_tls_session *session, const struct hg_tls_options *options)
{
    const char *name = options->server_name != NULL ? options->server_name : "";
    return strcmp(session->server_name, name) == 0 && (session->is_verified || !options->verify);
}

static bool is_address(const char *name)
{
    struct in6_addr address;
    return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

/* Of the SSL: 1 is well. */
static int set_name(SSL *ssl, const struct hg_tls_options *options)
{
    const char *name = options->server_name;
    X509_VERIFY_PARAM *param = hg_ssl->SSL_get0_param(ssl);

    hg_ssl->SSL_set_verify(ssl, options->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (name == NULL)
        return 1;
    if (is_address(name))
        return !options->verify || hg_ssl->X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
    hg_ssl->X509_VERIFY_PARAM_set_hostflags(param, HOST_FLAGS);
    return hg_ssl->SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                            (void *)(uintptr_t)name) == 1 &&
           (!options->verify || hg_ssl->X509_VERIFY_PARAM_set1_host(param, name, 0) == 1);
}

static int set_up(struct hg_tls *tls, struct hg_tls_context *context,
                  const struct hg_tls_options *options)
{
    tls->session = session_create(options);
    tls->ssl = hg_ssl->SSL_new(context->ctx);
    tls->in = hg_ssl->BIO_new(hg_ssl->BIO_s_mem());
    tls->out = hg_ssl->BIO_new(hg_ssl->BIO_s_mem());
    if (tls->session == NULL || tls->ssl == NULL || tls->in == NULL || tls->out == NULL ||
        hg_ssl->SSL_set_ex_data(tls->ssl, 0, tls) != 1) {
        hg_ssl->BIO_free(tls->in);
        hg_ssl->BIO_free(tls->out);
        return HG_ENOMEM;
    }
    hg_ssl->BIO_ctrl(tls->in, BIO_C_SET_BUF_MEM_EOF_RETURN, -1, NULL); /* empty: more may come */
    hg_ssl->SSL_set_bio(tls->ssl, tls->in, tls->out);
    hg_ssl->SSL_set_connect_state(tls->ssl);
    if (set_name(tls->ssl, options) != 1)
        return HG_EINVAL;
    if (options->wants_status)
        hg_ssl->SSL_ctrl(tls->ssl, SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE, TLSEXT_STATUSTYPE_ocsp,
                         NULL);
    const struct hg_tls_session *session = options->session;
    if (session != NULL && session->session != NULL && fits(session, options) &&
        hg_ssl->SSL_SESSION_is_resumable(session->session) &&
        hg_ssl->SSL_set_session(tls->ssl, session->session) == 1 &&
        hg_ssl->SSL_SESSION_up_ref(session->session) == 1)
        tls->session->session = session->session; /* until there is a newer one */
    return HG_OK;
}

/* OpenSSL takes ".example" for every name below it. */
static bool is_name(const char *name)
{
    size_t len = strlen(name);
    return len >= 1 && len <= HG_TLS_NAME_MAX && name[0] != '.' && strchr(name, '*') == NULL;
}

int hg_tls_create(struct hg_tls_context *context, const struct hg_tls_options *options,
                  struct hg_tls **out_tls)
{
    if (options->server_name != NULL ? !is_name(options->server_name) : options->verify)
        return HG_EINVAL;
    struct hg_tls *tls = hg_calloc(1, sizeof(*tls));
    if (tls == NULL)
        return HG_ENOMEM;
    int err = set_up(tls, context, options);
    hg_ssl->ERR_clear_error();
    if (err < 0) {
        hg_tls_destroy(tls);
        return err;
    }
    *out_tls = tls;
    return HG_OK;
}

void hg_tls_destroy(struct hg_tls *tls)
{
    if (tls == NULL)
        return;
    if (tls->ssl != NULL) /* or its session would count as broken */
        hg_ssl->SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    hg_ssl->SSL_free(tls->ssl);
    hg_tls_session_unref(tls->session);
    hg_free(tls);
}

bool hg_tls_is_alike(const struct hg_tls *tls, const struct hg_tls_options *options)
{
    return fits(tls->session, options);
}

bool hg_tls_is_same(const struct hg_tls *a, const struct hg_tls *b)
{
    return a->session->is_verified == b->session->is_verified &&
           strcmp(a->session->server_name, b->session->server_name) == 0;
}

int hg_tls_feed(struct hg_tls *tls, struct hg_bytes bytes)
{
    assert(bytes.len <= INT_MAX);
    return hg_ssl->BIO_write(tls->in, bytes.data, (int)bytes.len) == (int)bytes.len ? HG_OK
                                                                                    : HG_ENOMEM;
}

/* The words for what OpenSSL has just refused. */
static int fail(struct hg_tls *tls, const char *what)
{
    unsigned long code = hg_ssl->ERR_peek_error();
    const char *reason = code != 0 ? hg_ssl->ERR_reason_error_string(code) : NULL;
    long verdict = hg_ssl->SSL_get_verify_result(tls->ssl);

    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        snprintf(tls->error, sizeof(tls->error), "%ld: %s", verdict,
                 hg_ssl->X509_verify_cert_error_string(verdict));
    else
        snprintf(tls->error, sizeof(tls->error), "%s%s%s", what, reason != NULL ? ": " : "",
                 reason != NULL ? reason : "");
    hg_ssl->ERR_clear_error();
    return ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE ? HG_ENOMEM : HG_EPROTO;
}

int hg_tls_handshake(struct hg_tls *tls)
{
    hg_ssl->ERR_clear_error();
    int rc = hg_ssl->SSL_do_handshake(tls->ssl);
    if (rc == 1)
        return HG_OK;
    if (hg_ssl->SSL_get_error(tls->ssl, rc) == SSL_ERROR_WANT_READ)
        return HG_PENDING;
    return fail(tls, "handshake failed");
}

/* What SSL_read says when it has nothing. HG_PENDING: more has to come. */
static int read_err(struct hg_tls *tls, int rc)
{
    switch (hg_ssl->SSL_get_error(tls->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return HG_PENDING;
    case SSL_ERROR_ZERO_RETURN:
        snprintf(tls->error, sizeof(tls->error), "closed");
        return HG_ECLOSED;
    default:
        return fail(tls, "TLS failed");
    }
}

int hg_tls_read(struct hg_tls *tls, struct hg_buf *out)
{
    while (tls->err == HG_OK) {
        int err = hg_buf_reserve(out, READ_BYTES);
        if (err < 0) {
            snprintf(tls->error, sizeof(tls->error), "%s", hg_err_text(err));
            tls->err = err;
            break;
        }
        hg_ssl->ERR_clear_error();
        int count = hg_ssl->SSL_read(tls->ssl, out->data + out->len, READ_BYTES);
        if (count > 0) {
            out->len += (size_t)count;
            continue;
        }
        err = read_err(tls, count);
        if (err == HG_PENDING)
            return HG_OK;
        tls->err = err;
    }
    return tls->err;
}

int hg_tls_state(const struct hg_tls *tls)
{
    return tls->err;
}

int hg_tls_write(struct hg_tls *tls, struct hg_bytes bytes)
{
    assert(bytes.len <= INT_MAX);
    hg_ssl->ERR_clear_error();
    if (bytes.len == 0 || hg_ssl->SSL_write(tls->ssl, bytes.data, (int)bytes.len) == (int)bytes.len)
        return HG_OK;
    return fail(tls, "TLS failed");
}

void hg_tls_shutdown(struct hg_tls *tls)
{
    hg_ssl->SSL_shutdown(tls->ssl);
    hg_ssl->ERR_clear_error();
}

struct hg_bytes hg_tls_output(const struct hg_tls *tls)
{
    char *data = NULL;
    long len = hg_ssl->BIO_ctrl(tls->out, BIO_CTRL_INFO, 0, &data);
    return hg_bytes(data, len > 0 ? (size_t)len : 0);
}

void hg_tls_output_take(struct hg_tls *tls, size_t count)
{
    char gone[4096];
    while (count > 0) {
        int step =
            hg_ssl->BIO_read(tls->out, gone, (int)(count < sizeof(gone) ? count : sizeof(gone)));
        if (step <= 0)
            return;
        count -= (size_t)step;
    }
}

const char *hg_tls_error(const struct hg_tls *tls)
{
    return tls->error;
}

bool hg_tls_is_resumed(const struct hg_tls *tls)
{
    return hg_ssl->SSL_session_reused(tls->ssl) == 1;
}

struct hg_tls_session *hg_tls_session(struct hg_tls *tls)
{
    tls->session->refs++;
    return tls->session;
}
