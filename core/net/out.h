/*
 * out - what a connection has still to send: blocks of bytes with stored values in between, sent from place.
 *
 *   block: [ status line, headers, small bodies ... | value | ... ]  ->  block  ->  ...
 *
 * Blocks come from a pool shared by a server's connections, so that a connection with nothing to send holds none.
 *
 * Ownership  holds one reference on each value until its last byte is gone.
 * Errors     HG_ENOMEM; what was there stays as it was.
 */
#ifndef HG_NET_OUT_H
#define HG_NET_OUT_H

#include <uv.h>
#include "base/value.h"

#define HG_OUT_BLOCK    16384 /* bytes of a pooled block's allocation */
#define HG_OUT_SEGMENTS 16    /* values in a block */

struct hg_out_segment {
    size_t at; /* the value comes before data[at] */
    struct hg_value *value;
};

struct hg_out_block {
    struct hg_out_block *next;
    size_t capacity, len;    /* of data */
    size_t sent, value_sent; /* of data; of the segment at segment_index */
    unsigned segment_index, segment_count;
    struct hg_out_segment segments[HG_OUT_SEGMENTS];
    uv_write_t write; /* of the write that begins with this block */
    char data[];
};

struct hg_out_pool {
    struct hg_out_block *free;
    unsigned count;
};

struct hg_out {
    struct hg_out_block *head, *tail;
    size_t bytes;  /* unsent, values included */
    size_t pinned; /* of values not wholly sent */
};

void hg_out_pool_finish(struct hg_out_pool *pool);

/* Room for len bytes in one piece behind what is there. NULL: out of memory. Not yet part of it: see commit. */
char *hg_out_reserve(struct hg_out *out, struct hg_out_pool *pool, size_t len);
void hg_out_commit(struct hg_out *out, size_t len);
int hg_out_append(struct hg_out *out, struct hg_out_pool *pool, const char *data, size_t len);
/* Takes the reference over when it succeeds. */
int hg_out_append_value(struct hg_out *out, struct hg_out_pool *pool, struct hg_value *value);

/* The first unsent pieces; returns how many, and their bytes. */
unsigned hg_out_pieces(const struct hg_out *out, uv_buf_t *bufs, unsigned max, size_t *out_bytes);
/* The first count bytes are gone. */
void hg_out_consume(struct hg_out *out, struct hg_out_pool *pool, size_t count);
void hg_out_clear(struct hg_out *out, struct hg_out_pool *pool);

#endif
