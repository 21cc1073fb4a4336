#include "cluster/membership.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"

#define SHOWN_MAX 128

struct view_block {
    struct hg_view view;
    _Atomic size_t holders;
    void *peers[];
};

static int say(char *error, size_t error_size, int err, const char *what, struct hg_bytes name)
{
    char shown[SHOWN_MAX];
    snprintf(error, error_size, "%s \"%s\"", what, hg_bytes_escape(name, shown, sizeof(shown)));
    return err;
}

static int check(const struct hg_bytes *members, size_t count, char *error, size_t error_size)
{
    if (count == 0) {
        snprintf(error, error_size, "the list of members is empty");
        return HG_EINVAL;
    }
    if (count > HG_RING_MEMBERS_MAX) {
        snprintf(error, error_size, "%zu members, at most %d are possible", count,
                 HG_RING_MEMBERS_MAX);
        return HG_ELIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        if (members[i].len == 0)
            return say(error, error_size, HG_EINVAL, "a member without a name:", members[i]);
        for (size_t j = 0; j < i; j++) {
            if (hg_bytes_eq(members[i], members[j]))
                return say(error, error_size, HG_EINVAL, "a member is listed twice:", members[i]);
        }
    }
    return HG_OK;
}

int hg_view_create(const struct hg_ring_preset *preset, const struct hg_bytes *members,
                   size_t count, struct hg_bytes self, hg_member_fn make_peer, void *ctx,
                   struct hg_view **out_view, char *error, size_t error_size)
{
    struct hg_ring *ring = NULL;
    struct view_block *block = NULL;
    size_t peers_bytes, size;

    int err = check(members, count, error, error_size);
    if (err < 0)
        return err;
    err = hg_ring_create(preset, members, count, &ring);
    if (err < 0) {
        snprintf(error, error_size, "cannot build the ring: %s", hg_err_text(err));
        return err;
    }
    long self_index = hg_ring_find(ring, self);
    if (self_index < 0) {
        err =
            say(error, error_size, HG_ENOENT, "the list of members does not hold this node,", self);
        goto destroy_ring;
    }
    if (hg_size_mul(count, sizeof(void *), &peers_bytes) &&
        hg_size_add(sizeof(*block), peers_bytes, &size))
        block = hg_calloc(1, size);
    if (block == NULL) {
        snprintf(error, error_size, "out of memory");
        err = HG_ENOMEM;
        goto destroy_ring;
    }
    for (size_t i = 0; i < count; i++) {
        if ((long)i == self_index)
            continue;
        block->peers[i] = make_peer(ctx, members[i], error, error_size);
        if (block->peers[i] == NULL) {
            err = HG_EINVAL;
            goto free_block;
        }
    }
    block->view = (struct hg_view){
        .ring = ring, .self = self_index, .peers = block->peers, .holders = &block->holders};
    *out_view = &block->view;
    return HG_OK;

free_block:
    hg_free(block);
destroy_ring:
    hg_ring_destroy(ring);
    return err;
}

void hg_view_destroy(struct hg_view *view)
{
    if (view == NULL)
        return;
    struct view_block *block = hg_container_of(view, struct view_block, view);
    hg_ring_destroy((struct hg_ring *)(uintptr_t)view->ring);
    hg_free(block);
}
