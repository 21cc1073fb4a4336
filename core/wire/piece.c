#include "wire/piece.h"

static bool found(struct hg_piece_found *out_found, size_t len, size_t skip, bool is_end)
{
    *out_found = (struct hg_piece_found){.len = len, .skip = skip, .is_end = is_end};
    return true;
}

static bool find_line(struct hg_piece *piece, struct hg_bytes in, struct hg_piece_found *out_found)
{
    const char *end = NULL;
    if (in.len > piece->seen)
        end = memchr(in.data + piece->seen, '\n', in.len - piece->seen);
    piece->seen = in.len;
    if (end == NULL)
        return false;
    size_t len = (size_t)(end - in.data);
    return found(out_found, len, len + 1, true);
}

/* Bytes at the end of `in` that the pattern could begin with. */
static size_t begun(struct hg_bytes pattern, struct hg_bytes in)
{
    size_t len = pattern.len - 1 < in.len ? pattern.len - 1 : in.len;
    while (len > 0 && memcmp(in.data + in.len - len, pattern.data, len) != 0)
        len--;
    return len;
}

static bool find_pattern(struct hg_piece *piece, struct hg_bytes in,
                         struct hg_piece_found *out_found)
{
    struct hg_bytes pattern = piece->pattern;
    size_t size = piece->size;
    const char *at = NULL;

    /* In parts, a pattern that begins later than this part ends is the next one's. */
    bool is_enough = size > 0 && in.len >= size && in.len - size >= pattern.len;
    if (is_enough)
        in.len = size + pattern.len;
    size_t from = piece->seen >= pattern.len ? piece->seen - (pattern.len - 1) : 0;
    if (in.len > from)
        at = memmem(in.data + from, in.len - from, pattern.data, pattern.len);
    piece->seen = in.len;
    size_t len = at != NULL ? (size_t)(at - in.data) : 0;
    if (at != NULL && (size == 0 || len < size)) {
        return found(out_found, piece->is_inclusive ? len + pattern.len : len, len + pattern.len,
                     true);
    }
    if (is_enough || at != NULL ||
        (size > 0 && in.len >= size && in.len - begun(pattern, in) >= size))
        return found(out_found, size, size, false);
    return false;
}

bool hg_piece_find(struct hg_piece *piece, struct hg_bytes in, bool has_ended,
                   struct hg_piece_found *out_found)
{
    switch (piece->kind) {
    case HG_PIECE_LINE:
        return find_line(piece, in, out_found);
    case HG_PIECE_BYTES:
        return in.len >= piece->size && found(out_found, piece->size, piece->size, true);
    case HG_PIECE_ANY: {
        size_t len = in.len < piece->size ? in.len : piece->size;
        return len > 0 && found(out_found, len, len, true);
    }
    case HG_PIECE_ALL:
        return has_ended && found(out_found, in.len, in.len, true);
    default:
        return find_pattern(piece, in, out_found);
    }
}

size_t hg_piece_partial(const struct hg_piece *piece, struct hg_bytes in)
{
    return piece->kind == HG_PIECE_UNTIL ? in.len - begun(piece->pattern, in) : in.len;
}
