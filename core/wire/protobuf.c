#include "wire/protobuf.h"

#include "base/alloc.h"
#include "base/err.h"

/* More fields than any message of ours can have, unknown ones included: bounds what unpacking
 * allocates. */
#define FIELDS_MAX 1024

static void *allocate(void *unused, size_t size)
{
    (void)unused;
    return hg_malloc(size);
}

static void release(void *unused, void *block)
{
    (void)unused;
    hg_free(block);
}

static ProtobufCAllocator allocator = {.alloc = allocate, .free = release};

int hg_protobuf_pack(const ProtobufCMessage *message, struct hg_buf *buf)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    int err = hg_buf_reserve(buf, size);
    if (err < 0)
        return err;
    if (size > 0)
        buf->len += protobuf_c_message_pack(message, (uint8_t *)buf->data + buf->len);
    return HG_OK;
}

/* --- a look over foreign bytes before protobuf-c allocates for them --- */

struct cursor {
    const unsigned char *at, *end;
};

/* Bytes of a varint; protobuf-c reads no more of a tag or a length. */
#define VARINT_BYTES 10
#define SHORT_BYTES  5

static bool take_varint(struct cursor *cursor, unsigned bytes_max, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 7 * bytes_max; shift += 7) {
        if (cursor->at == cursor->end)
            return false;
        unsigned char byte = *cursor->at++;
        if (shift == 63 && byte > 1)
            return false; /* more than 64 bits */
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool skip(struct cursor *cursor, uint64_t len)
{
    if (len > (uint64_t)(cursor->end - cursor->at))
        return false;
    cursor->at += len;
    return true;
}

/*
 * Whether the message is well-formed, and how often the repeated field `repeated` stands in it.
 * Field 0, groups, overlong varints and lengths past the end are malformed whatever the field.
 */
static int inspect(struct hg_bytes message, const ProtobufCMessageDescriptor *descriptor,
                   uint32_t repeated, size_t *out_count)
{
    const unsigned char *data = (const unsigned char *)(message.len == 0 ? "" : message.data);
    struct cursor cursor = {data, data + message.len};
    size_t fields = 0, count = 0;
    if (message.len > HG_PROTOBUF_MAX)
        return HG_EPROTO;
    while (cursor.at < cursor.end) {
        uint64_t tag, value;
        if (++fields > FIELDS_MAX || !take_varint(&cursor, SHORT_BYTES, &tag) || tag >> 3 == 0 ||
            tag > UINT32_MAX)
            return HG_EPROTO;
        unsigned wire_type = tag & 7;
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(tag >> 3));
        if (field != NULL) {
            unsigned wanted =
                field->type == PROTOBUF_C_TYPE_BYTES || field->type == PROTOBUF_C_TYPE_STRING ? 2
                : field->type == PROTOBUF_C_TYPE_FIXED64 || field->type == PROTOBUF_C_TYPE_DOUBLE
                    ? 1
                    : 0;
            if (wire_type != wanted)
                return HG_EPROTO;
        }
        bool is_whole = wire_type == 0   ? take_varint(&cursor, VARINT_BYTES, &value)
                        : wire_type == 1 ? skip(&cursor, 8)
                        : wire_type == 2
                            ? take_varint(&cursor, SHORT_BYTES, &value) && skip(&cursor, value)
                        : wire_type == 5 ? skip(&cursor, 4)
                                         : false;
        if (!is_whole)
            return HG_EPROTO;
        count += tag >> 3 == repeated;
    }
    *out_count = count;
    return HG_OK;
}

int hg_protobuf_unpack(struct hg_bytes message, const ProtobufCMessageDescriptor *descriptor,
                       uint32_t repeated, size_t repeated_max, ProtobufCMessage **out_message)
{
    size_t count;
    int err = inspect(message, descriptor, repeated, &count);
    if (err < 0)
        return err;
    if (count > repeated_max)
        return HG_ELIMIT;
    /* The bytes are well-formed, so what fails now is memory. */
    static const uint8_t nothing[1];
    *out_message =
        protobuf_c_message_unpack(descriptor, &allocator, message.len,
                                  message.len == 0 ? nothing : (const uint8_t *)message.data);
    return *out_message == NULL ? HG_ENOMEM : HG_OK;
}

void hg_protobuf_free(void *message)
{
    if (message != NULL)
        protobuf_c_message_free_unpacked(message, &allocator);
}
