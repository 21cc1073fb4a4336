/*
 * http1_internal - the pieces of the HTTP/1 parser, for http1*.c, http2_head.c and their tests only.
 *
 *   input -> scan (lines, sizes, counts) -> head whole -> parse_head (llhttp, then our checks) ->
 * body -> request
 *
 * Every decision depends on the bytes seen so far and never on how they were cut, so the outcome of
 * a stream is the same for every split.
 */
#ifndef HG_WIRE_HTTP1_INTERNAL_H
#define HG_WIRE_HTTP1_INTERNAL_H

#include "llhttp.h"
#include "wire/http1.h"

struct hg_http1_fault {
    int status;
    const char *text; /* static */
};

/* How far the search for the end of a head has come; offsets into the bytes handed to scan. */
struct hg_http1_scan {
    size_t start; /* first byte of the request line */
    size_t line;  /* first byte of the current line */
    size_t seen;  /* bytes already searched for a line end */
    unsigned fields;
    bool has_request_line, has_blank_line;
};

enum hg_http1_step { HG_STEP_MORE, HG_STEP_DONE, HG_STEP_FAULT };

/* DONE: *out_end is behind the head. `bytes` always begins at the same byte of the stream and
 * grows. */
enum hg_http1_step hg_http1_scan_head(const struct hg_http1_limits *limits, struct hg_bytes bytes,
                                      struct hg_http1_scan *scan, size_t *out_end,
                                      struct hg_http1_fault *out_fault);

/* The request line without its CRLF. Fills method, target, path, query, is_http10, and host of an
 * absolute form. */
bool hg_http1_parse_line(struct hg_bytes line, struct hg_http1_request *out_request,
                         struct hg_http1_fault *out_fault);

struct hg_http1_scratch {
    llhttp_t llhttp;
    bool is_whole; /* llhttp saw the end of the head */
    bool is_full;  /* more fields than there is room for */
    size_t field_count;
    struct hg_field fields[HG_FIELDS_MAX];
};

struct hg_http1_framing {
    bool is_chunked, expects_continue;
    uint64_t content_length;
};

/* A whole head, request line to blank line. Spans of *out_request point into it. */
bool hg_http1_parse_head(const struct hg_http1_limits *limits, struct hg_http1_scratch *scratch,
                         struct hg_bytes head, struct hg_http1_request *out_request,
                         struct hg_http1_framing *out_framing, struct hg_http1_fault *out_fault);

/* What the fields say together; checked once all are known. */
struct hg_http1_facts {
    const struct hg_field *host, *length, *coding, *expect;
    unsigned host_count, length_count, coding_count, expect_count;
    bool says_close, says_keep_alive;
};
/* Notes a field, and in *out those that the hot path wants. */
void hg_http1_note_field(struct hg_http1_facts *facts, const struct hg_field *field,
                         struct hg_http1_request *out);

/* "chunked", decoded strictly (RFC 9112 7.1): see http1_body.c. Zeroed is the start. */
struct hg_http1_chunks {
    unsigned state;
    unsigned digits;   /* of the size being read */
    unsigned trailers; /* fields in the trailer section */
    uint64_t left;     /* size being read, then bytes left of the chunk */
    size_t extension_bytes, trailer_bytes;
    unsigned name_len;
    char name[20]; /* of the trailer field, lower case; longer names are none that matter */
};
enum hg_http1_step hg_http1_chunks_feed(struct hg_http1_chunks *chunks,
                                        const struct hg_http1_limits *limits, struct hg_bytes input,
                                        size_t *out_consumed, struct hg_buf *body,
                                        struct hg_http1_fault *out_fault);

/* Appends body bytes; false and a fault when memory is out. */
bool hg_http1_body_append(struct hg_buf *body, struct hg_bytes bytes,
                          struct hg_http1_fault *out_fault);

/* RFC 9110 5.6.2 token character. */
extern const unsigned char hg_http1_token_chars[256];
/* uri-host [ ":" port ], nothing else: no user information, path, list or blank. */
bool hg_http1_authority_is_valid(struct hg_bytes authority);

#endif
