/*
 * protobuf - bytes of our messages to protobuf-c's structures and back, for the files of this floor.
 *
 * Foreign bytes are looked over before anything is allocated for them: field 0, groups, overlong varints, wrong wire
 * types, lengths past the end and too many fields are malformed. Memory comes from base/alloc.h.
 *
 * Ownership  what unpack returns is freed by hg_protobuf_free; spans of it live as long.
 * Errors     HG_EPROTO malformed, HG_ELIMIT too many of the repeated field, HG_ENOMEM.
 */
#ifndef HG_WIRE_PROTOBUF_H
#define HG_WIRE_PROTOBUF_H

#include <protobuf-c/protobuf-c.h>
#include "base/buf.h"

#define HG_PROTOBUF_MAX ((size_t)1 << 30) /* bytes of a message */

static inline ProtobufCBinaryData hg_protobuf_binary(struct hg_bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.len, .data = (uint8_t *)(uintptr_t)bytes.data};
}

static inline struct hg_bytes hg_protobuf_span(const ProtobufCBinaryData *data)
{
    return hg_bytes(data->data, data->len);
}

/* Appends the encoded message. */
int hg_protobuf_pack(const ProtobufCMessage *message, struct hg_buf *buf);
/* At most repeated_max of the field numbered `repeated`. */
int hg_protobuf_unpack(struct hg_bytes message, const ProtobufCMessageDescriptor *descriptor,
                       uint32_t repeated, size_t repeated_max, ProtobufCMessage **out_message);
void hg_protobuf_free(void *message); /* NULL is fine */

#endif
