/*
 * piece - what a reader wants next of a stream of bytes: a line, so many bytes, what there is, all, or up to a pattern.
 *
 *   arrived so far  ->  hg_piece_find  ->  not yet: read on   |   found: the first `len` bytes are the answer, `skip` are done with
 *
 * Each byte is looked at once, however it arrives in parts. A line's CRs are part of it: who wants them gone takes them out.
 */
#ifndef HG_WIRE_PIECE_H
#define HG_WIRE_PIECE_H

#include "base/bytes.h"

enum hg_piece_kind {
    HG_PIECE_LINE,  /* up to LF, which is skipped */
    HG_PIECE_BYTES, /* exactly `size` */
    HG_PIECE_ANY,   /* 1 to `size`, what there is */
    HG_PIECE_ALL,   /* up to the end of the stream */
    HG_PIECE_UNTIL, /* up to the pattern, which is skipped; in parts of `size`, the last one shorter, where that is not 0 */
};

struct hg_piece {
    enum hg_piece_kind kind;
    size_t size;
    struct hg_bytes pattern; /* UNTIL: borrowed; not empty */
    bool is_inclusive;       /* UNTIL: the pattern is part of the answer */
    size_t seen;             /* its own; 0 at the start */
};

struct hg_piece_found {
    size_t len, skip;
    bool is_end; /* UNTIL: the pattern was met; else this is a part before it */
};

/* in: what has arrived and was not taken; the same bytes and more at the next call. has_ended: no more will come. */
bool hg_piece_find(struct hg_piece *piece, struct hg_bytes in, bool has_ended,
                   struct hg_piece_found *out_found);
/* Bytes that can be given away before it is found: all but the beginning of a pattern. */
size_t hg_piece_partial(const struct hg_piece *piece, struct hg_bytes in);

#endif
