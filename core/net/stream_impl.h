/*
 * stream_impl - what stream.c and stream_tls.c share.
 */
#ifndef HG_NET_STREAM_IMPL_H
#define HG_NET_STREAM_IMPL_H

#include "net/stream.h"

/* Note the words; the hg_err. */
int hg_stream_fail(struct hg_stream *stream, int uv_error);
int hg_stream_fail_budget(struct hg_stream *stream);
bool hg_stream_has_budget(const struct hg_stream *stream);
/* The block of `in` has grown, or is gone. */
void hg_stream_account(struct hg_stream *stream);
/* As hg_stream_write, of bytes as they go out. */
int hg_stream_send(struct hg_stream *stream, struct hg_bytes data);

/* stream_tls.c, of a stream with tls. */
uv_buf_t hg_stream_tls_room(void);
void hg_stream_tls_arrived(struct hg_stream *stream, struct hg_bytes bytes);
int hg_stream_tls_write(struct hg_stream *stream, struct hg_bytes data);
/* Writes what is left. HG_OK: all of it is with the kernel; HG_PENDING; or an error. */
int hg_stream_tls_pump(struct hg_stream *stream);
/* The handshake is over: calls `secured`. */
void hg_stream_tls_end(struct hg_stream *stream, int err);
/* HG_OK, or how the other side has ended. */
int hg_stream_tls_state(struct hg_stream *stream);
bool hg_stream_tls_is_quiet(struct hg_stream *stream, int fd);
void hg_stream_tls_shutdown(struct hg_stream *stream);
void hg_stream_tls_finish(struct hg_stream *stream); /* a plain one is fine */

#endif
