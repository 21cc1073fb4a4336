/*
 * http1 - bytes to requests: an incremental HTTP/1.1 server-side parser over llhttp (strict), with every
 * refusal and limit that llhttp leaves to its user.
 *
 * A request is handed out whole: head and body. Fast path: a head that arrives in one piece without a body is
 * parsed in place and its spans point into the caller's input; otherwise into the parser's own bounded buffer.
 * Whatever the split of the input, the outcome is the same.
 *
 * Refused with a status, after which the connection must be closed once the answer is out:
 *   400 missing, double or malformed Host; obs-fold; space before colon; empty or non-token field name; control bytes;
 *       bare CR or LF; HTTP/0.9; bad, double or list Content-Length; Transfer-Encoding other than exactly "chunked", with
 *       HTTP/1.0 or together with Content-Length, on GET or HEAD; bad chunks, extensions over limits.chunk_extension;
 *       fragment or raw non-ASCII in the target; authority-form; more than one blank line before a request
 *   405 CONNECT and TRACE; 413 body over limits.body; 414 request line over limits.line; 417 an Expect other than 100-continue;
 *   431 head over limits.head or limits.fields; 501 unknown method; 505 version other than 1.0 and 1.1
 * Upgrade offers are ignored; the connection stays HTTP/1.1. Trailers are dropped; those that frame or route
 * (Content-Length, Transfer-Encoding, Host) are refused.
 * HTTP/1.0 may leave Host out. An absolute-form target brings its own authority, which then is `host` (RFC 9112 3.2.2).
 *
 * Threads    none of its own.  Time  none.
 */
#ifndef HG_WIRE_HTTP1_H
#define HG_WIRE_HTTP1_H

#include <stdint.h>
#include "base/buf.h"

struct hg_http1_limits {
    size_t line;   /* request line, default 8 KiB */
    size_t head;   /* whole head, default 16 KiB */
    unsigned fields; /* default 100; at most HG_FIELDS_MAX */
    size_t body;   /* default 8 MiB */
    size_t chunk_extension; /* total in a request, default 1 KiB */
};
#define HG_FIELDS_MAX 256
void hg_http1_limits_default(struct hg_http1_limits *limits);
/* How much longer than its head a request may take whose body has so many bytes so far: a second for each 64 KiB. */
static inline uint64_t hg_http1_body_ms(uint64_t body_bytes)
{
    return body_bytes / 65536 * 1000;
}

enum hg_method { HG_GET, HG_HEAD, HG_POST, HG_PUT, HG_DELETE, HG_OPTIONS, HG_PATCH, HG_METHOD_COUNT };
const char *hg_method_name(enum hg_method method);
/* HG_METHOD_COUNT when it is none of ours (upper case, exact). */
enum hg_method hg_method_from_name(struct hg_bytes name);

struct hg_field {
    struct hg_bytes name, value; /* value trimmed */
};

struct hg_http1_request {
    enum hg_method method;
    struct hg_bytes target; /* as received */
    struct hg_bytes path;   /* raw, begins with '/'; "*" for OPTIONS */
    struct hg_bytes query;  /* raw, without '?'; data NULL when there was no '?' */
    struct hg_bytes host;
    bool is_http10, keep_alive;
    const struct hg_field *fields;
    size_t field_count;
    struct hg_bytes body;
    /* Fields the hot path wants, found while parsing; data NULL when absent. */
    struct hg_bytes if_none_match, origin, authorization, peer_request /* Hgcache-Request */;
    unsigned origin_count; /* more than one Origin matches none */
};

enum hg_http1_event {
    HG_HTTP1_MORE,     /* all input is consumed, the request is not whole yet */
    HG_HTTP1_CONTINUE, /* as MORE, and the client waits for "100 Continue" before the body */
    HG_HTTP1_REQUEST,  /* parser->request is whole; call hg_http1_next before feeding on */
    HG_HTTP1_ERROR,    /* parser->error_status and error_text; feed no more */
};

struct hg_http1 {
    const struct hg_http1_limits *limits; /* borrowed */
    struct hg_http1_request request;
    int error_status;
    const char *error_text; /* one line, static */
    struct hg_http1_impl *impl; /* created when first needed: an idle connection holds none */
    bool has_partial;       /* part of a request was consumed: the header time-out applies */
    bool in_body;           /* with has_partial: the head is whole and accepted, the body is on its way */
    bool has_blank_line;    /* the one blank line allowed before a request has come */
    struct hg_http1_scratch *scratch; /* borrowed when shared */
    bool owns_scratch;
};

/* limits is borrowed and must outlive the parser. */
void hg_http1_init(struct hg_http1 *parser, const struct hg_http1_limits *limits);
/* Safe on a zeroed or finished parser, and in any state. */
void hg_http1_finish(struct hg_http1 *parser);

/*
 * A scratch holds what parsing one head needs (llhttp's state, the field array: about 8 KiB). Parsing a head is synchronous,
 * so all parsers of a thread can share one; then a whole request in one piece costs no allocation and an idle
 * connection holds no memory. The price: `request.fields` of a shared scratch stay valid only until hg_http1_next or
 * until any other parser of that scratch is fed; hg_http1_request_copy is for requests that wait longer.
 * Without sharing a parser allocates its own when it needs one and frees it in hg_http1_next.
 */
struct hg_http1_scratch;
struct hg_http1_scratch *hg_http1_scratch_create(void); /* NULL: out of memory */
void hg_http1_scratch_destroy(struct hg_http1_scratch *scratch);
/* Right after hg_http1_init. The scratch must outlive the parser. */
void hg_http1_share(struct hg_http1 *parser, struct hg_http1_scratch *scratch);

/* Consumes up to the end of one request; *out_consumed <= input.len. HG_HTTP1_ERROR with status 503 when memory is out. */
enum hg_http1_event hg_http1_feed(struct hg_http1 *parser, struct hg_bytes input, size_t *out_consumed);
/* The request has been dealt with; its spans are dead. Gives buffers back. */
void hg_http1_next(struct hg_http1 *parser);

/* First field of that name (case folded), or HG_BYTES_NONE. */
struct hg_bytes hg_http1_field(const struct hg_http1_request *request, const char *name);

/* A copy whose spans all live in one allocation (hg_free it): for requests that wait. NULL: out of memory. */
struct hg_http1_request *hg_http1_request_copy(const struct hg_http1_request *request);

#endif
