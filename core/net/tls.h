/*
 * tls - a client's end of TLS between bytes and bytes: OpenSSL over memory BIOs. Knows no socket and no loop.
 *
 *   from the other side -> hg_tls_feed -> hg_tls_handshake | hg_tls_read -> plain bytes
 *   plain bytes -> hg_tls_write -> hg_tls_output -> to the other side
 *
 * Trust      TLS 1.2 and up; the chain and the name are checked during the handshake unless verify is false.
 * Sessions   offered again only for the same name, and a checked handshake only trusts a session that was checked itself.
 * Memory     OpenSSL's own besides: some 30 KiB for a connection, and what was fed and not read.
 * Threads    an end and its session: one. A context may be shared, and freed before the ends made from it.
 */
#ifndef HG_NET_TLS_H
#define HG_NET_TLS_H

#include <stdbool.h>
#include "base/buf.h"

struct hg_tls_context;
struct hg_tls_session;
struct hg_tls;

/* ca_file: certificates to trust, in PEM; NULL: the system's. HG_EINVAL: they cannot be read; HG_ENOMEM, HG_EIO. */
int hg_tls_context_create(const char *ca_file, struct hg_tls_context **out_context);
void hg_tls_context_destroy(struct hg_tls_context *context);

/* Longest name of a server. */
#define HG_TLS_NAME_MAX 255

struct hg_tls_options {
    const char *
        server_name; /* for the server and to be checked; or an address in digits, only checked. NULL: neither */
    bool verify;
    bool wants_status;              /* asks for the certificate's status (OCSP stapling) */
    struct hg_tls_session *session; /* of an earlier end; NULL: none */
};

/* HG_EINVAL: no good name, or none to check. */
int hg_tls_create(struct hg_tls_context *context, const struct hg_tls_options *options,
                  struct hg_tls **out_tls);
void hg_tls_destroy(struct hg_tls *tls);
/* Made with this name and at least this trust. */
bool hg_tls_is_alike(const struct hg_tls *tls, const struct hg_tls_options *options);
bool hg_tls_is_same(const struct hg_tls *a, const struct hg_tls *b);

/* Bytes from the other side. HG_ENOMEM. */
int hg_tls_feed(struct hg_tls *tls, struct hg_bytes bytes);
/* HG_OK: done; HG_PENDING: the other side has to say more; HG_EPROTO. Then there may be output, also when it failed. */
int hg_tls_handshake(struct hg_tls *tls);
/*
 * Everything that was fed and is whole, behind what is in `out`. HG_OK, HG_ECLOSED: the other side has said that it ends;
 * HG_EPROTO, HG_ENOMEM, HG_ETOOBIG; and the same again after that. May leave output.
 */
int hg_tls_read(struct hg_tls *tls, struct hg_buf *out);
int hg_tls_state(const struct hg_tls *tls); /* HG_OK, or how reading has ended */
int hg_tls_write(struct hg_tls *tls, struct hg_bytes bytes);
/* Says that this side ends, as output. */
void hg_tls_shutdown(struct hg_tls *tls);
/* What is to be sent; valid until the next call. */
struct hg_bytes hg_tls_output(const struct hg_tls *tls);
void hg_tls_output_take(struct hg_tls *tls, size_t count);
/* Words for the last error. */
const char *hg_tls_error(const struct hg_tls *tls);
bool hg_tls_is_resumed(const struct hg_tls *tls);
/*
 * What a later end may offer: the newest that its server has sent, also after this call. A reference.
 */
struct hg_tls_session *hg_tls_session(struct hg_tls *tls);
void hg_tls_session_unref(struct hg_tls_session *session);

#endif
