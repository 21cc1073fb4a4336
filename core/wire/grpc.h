/*
 * grpc - the little that gRPC adds to HTTP/2: the prefix of a message, status codes, grpc-timeout and grpc-message
 * (the gRPC project's PROTOCOL-HTTP2.md). Messages are never compressed here.
 *
 * Threads    none of its own.  Time  none.
 */
#ifndef HG_WIRE_GRPC_H
#define HG_WIRE_GRPC_H

#include "base/buf.h"

#define HG_GRPC_PREFIX       5  /* one byte of flags, the length in four */
#define HG_GRPC_TIMEOUT_SIZE 16 /* room for a formatted grpc-timeout */

#define HG_GRPC_CODES(X)                                                                           \
    X(OK, 0) X(CANCELLED, 1) X(UNKNOWN, 2) X(INVALID_ARGUMENT, 3) X(DEADLINE_EXCEEDED, 4) X(NOT_FOUND, 5)  \
    X(ALREADY_EXISTS, 6) X(PERMISSION_DENIED, 7) X(RESOURCE_EXHAUSTED, 8) X(FAILED_PRECONDITION, 9)      \
    X(ABORTED, 10) X(OUT_OF_RANGE, 11) X(UNIMPLEMENTED, 12) X(INTERNAL, 13) X(UNAVAILABLE, 14) X(DATA_LOSS, 15) \
    X(UNAUTHENTICATED, 16)
enum hg_grpc_code {
#define X(name, number) HG_GRPC_##name = number,
    HG_GRPC_CODES(X)
#undef X
};
/* "NOT_FOUND"; "UNKNOWN" for a number that is none. Static. */
const char *hg_grpc_code_name(int code);
/* For one of our HTTP statuses (INTERFACES: Between nodes). */
enum hg_grpc_code hg_grpc_code_from_http(int http_status);

/* "application/grpc" or "application/grpc+proto", parameters ignored. */
bool hg_grpc_is_content_type(struct hg_bytes type);

struct hg_grpc_prefix {
    bool is_compressed;
    size_t len; /* of the message that follows */
};
/* HG_PENDING: fewer than HG_GRPC_PREFIX bytes. HG_EPROTO: flags that are none. */
int hg_grpc_prefix_read(struct hg_bytes input, struct hg_grpc_prefix *out_prefix);
void hg_grpc_prefix_write(size_t len, char out[HG_GRPC_PREFIX]);
/*
 * The one message that a body is. HG_ETOOBIG: its prefix declares more than max, whatever follows; HG_EINVAL: compressed;
 * HG_EPROTO: cut, none, or more than one.
 */
int hg_grpc_message_read(struct hg_bytes body, size_t max, struct hg_bytes *out_message);

/* At most 8 digits and a unit, rounded up to ms; 0 has passed already. HG_EPROTO. */
int hg_grpc_timeout_read(struct hg_bytes text, uint64_t *out_ms);
/* As precise as 8 digits allow, never longer than ms. Returns the length. */
size_t hg_grpc_timeout_write(uint64_t ms, char out[HG_GRPC_TIMEOUT_SIZE]);

/* grpc-message: '%' and what is not printable ASCII become %XX. At most max bytes of the text. */
int hg_grpc_text_encode(struct hg_buf *buf, struct hg_bytes text, size_t max);

#endif
