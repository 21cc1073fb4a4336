/*
 * peer_many - one message for many keys: messages Asks and Answers (proto/hgcache.proto), part by part.
 *
 *   Asks:    [head | Request] [head | Request] ...             head: what a repeated field 1 begins with,
 *   Answers: [head | Response with its number] ...             a tag byte and a length
 *
 * Parts are written and read one by one, so an answer leaves when its key is done and is read when it is whole. The
 * contents are those of peer_message.h.
 *
 * Errors     HG_EPROTO malformed, HG_ENOMEM, HG_ETOOBIG (past the buffer's maximum).
 */
#ifndef HG_WIRE_PEER_MANY_H
#define HG_WIRE_PEER_MANY_H

#include "wire/peer_message.h"

#define HG_MANY_KEYS_MAX  512               /* in one message */
#define HG_MANY_BYTES_MAX ((size_t)256 << 10) /* of its Asks */
#define HG_MANY_HEAD_MAX  6                 /* bytes of a head */

/* Appends one part; the buffer stays as it was on failure. */
int hg_peer_asks_append(const struct hg_peer_request *request, struct hg_buf *buf);
/* `response` is an encoded Response without a number; `number` is at least 1. */
int hg_peer_answers_append(struct hg_bytes response, uint32_t number, struct hg_buf *buf);

/* HG_OK: the head of the first part is whole. HG_PENDING: it is not, so far. HG_EPROTO. */
int hg_peer_many_head(struct hg_bytes input, size_t *out_head_len, size_t *out_part_len);
/* Takes the first part off *input, whose end is the message's. HG_ENOENT: there is none left. */
int hg_peer_many_next(struct hg_bytes *input, struct hg_bytes *out_part);
/* How many parts the message has. HG_ELIMIT: more than max. */
int hg_peer_many_count(struct hg_bytes message, size_t max, size_t *out_count);

#endif
