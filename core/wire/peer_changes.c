#include "wire/peer_changes.h"

#include "base/err.h"
#include "hgcache.pb-c.h"
#include "wire/protobuf.h"

int hg_peer_change_encode(const struct hg_peer_change *change, struct hg_buf *buf)
{
    Hgcache__Cache__Change message = HGCACHE__CACHE__CHANGE__INIT;
    message.origin = change->origin;
    message.sequence = change->sequence;
    message.op = (uint32_t)change->op;
    message.group = hg_protobuf_binary(change->group);
    message.name = hg_protobuf_binary(change->name);
    message.value = hg_protobuf_binary(change->value);
    message.is_copies = change->is_copies;
    return hg_protobuf_pack(&message.base, buf);
}

static bool is_sound(const Hgcache__Cache__Change *change)
{
    if (change->op < HG_CHANGE_SET || change->op > HG_CHANGE_FLUSH || change->group.len == 0)
        return false;
    return change->op == HG_CHANGE_FLUSH || change->name.len > 0;
}

int hg_peer_change_decode(struct hg_bytes message, struct hg_peer_change *out_change,
                          void **out_owner)
{
    ProtobufCMessage *unpacked;
    int err = hg_protobuf_unpack(message, &hgcache__cache__change__descriptor, 0, 0, &unpacked);
    if (err < 0)
        return err;
    const Hgcache__Cache__Change *change = (const Hgcache__Cache__Change *)unpacked;
    if (!is_sound(change)) {
        hg_protobuf_free(unpacked);
        return HG_EPROTO;
    }
    *out_change = (struct hg_peer_change){
        .origin = change->origin,
        .sequence = change->sequence,
        .op = (enum hg_change_op)change->op,
        .group = hg_protobuf_span(&change->group),
        .name = hg_protobuf_span(&change->name),
        .value = hg_protobuf_span(&change->value),
        .is_copies = change->is_copies,
    };
    *out_owner = unpacked;
    return HG_OK;
}

int hg_peer_changes_encode(const struct hg_peer_changes *changes, struct hg_buf *buf)
{
    Hgcache__Cache__Changes message = HGCACHE__CACHE__CHANGES__INIT;
    ProtobufCBinaryData each[HG_PEER_CHANGES_MAX];
    if (changes->count > HG_PEER_CHANGES_MAX)
        return HG_ELIMIT;
    for (size_t i = 0; i < changes->count; i++)
        each[i] = hg_protobuf_binary(changes->changes[i]);
    message.boot = changes->boot;
    message.number = changes->number;
    message.is_cut = changes->is_cut;
    message.is_behind = changes->is_behind;
    message.is_part = changes->is_part;
    message.n_changes = changes->count;
    message.changes = each;
    return hg_protobuf_pack(&message.base, buf);
}

int hg_peer_changes_decode(struct hg_bytes message, struct hg_peer_changes *out_changes,
                           void **out_owner)
{
    ProtobufCMessage *unpacked;
    int err = hg_protobuf_unpack(message, &hgcache__cache__changes__descriptor, 6,
                                 HG_PEER_CHANGES_MAX, &unpacked);
    if (err < 0)
        return err;
    const Hgcache__Cache__Changes *changes = (const Hgcache__Cache__Changes *)unpacked;
    out_changes->boot = changes->boot;
    out_changes->number = changes->number;
    out_changes->is_cut = changes->is_cut;
    out_changes->is_behind = changes->is_behind;
    out_changes->is_part = changes->is_part;
    out_changes->count = changes->n_changes;
    for (size_t i = 0; i < changes->n_changes; i++)
        out_changes->changes[i] = hg_protobuf_span(&changes->changes[i]);
    *out_owner = unpacked;
    return HG_OK;
}
