/*
 * What changes at the origin, and how the nodes hear of it.
 *
 *   silently           nobody is told: lives and windows bound how long it may be unseen
 *   everywhere at once each node is told at one moment; from then on nobody may get what was before
 *   as node/change.c   one node tells the others by messages: the owner first, then everybody else
 */
#include "world.h"

#include "base/bug.h"

enum op { OP_REMOVE, OP_SET, OP_EXPIRE };

struct change {
    struct node *node; /* who tells */
    unsigned epoch, key, owner, outstanding, acknowledged;
    enum op op;
    uint64_t version, started;
    struct hg_bytes body;
    bool is_over, has_failed, has_told_others;
};

struct word {
    struct change *change;
    unsigned to;
    bool is_put, is_first, is_known, is_over;
};

static void raise_floor(struct world *world, unsigned key, uint64_t version, bool is_by_tag)
{
    struct key *it = &world->keys[key];
    if (it->is_unordered)
        return;
    it->floor = it->floor > version ? it->floor : version;
    if (!is_by_tag)
        it->floor_absent = it->floor_absent > version ? it->floor_absent : version;
    trace(world, -1, "floor", key, version);
}

/* ---- everywhere at once ---- */

static void apply(struct node *node, unsigned key, enum op op, uint64_t version)
{
    struct world *world = node->world;
    struct hg_group *group = node->group[key_group(key)];
    uint64_t now_ms = node_now(node);

    if (op == OP_EXPIRE) {
        hg_group_expire(group, key_name(key), now_ms);
        return;
    }
    if (op == OP_SET) {
        struct hg_value *value = origin_value(world, key, version);
        struct hg_value *shared = value != NULL && chance(world, 300) ? hg_value_ref(value) : NULL;
        int rc = value == NULL ? HG_ENOMEM : hg_group_set(group, value, now_ms);
        hg_value_unref(shared);
        hg_value_unref(value);
        if (rc == HG_OK)
            return;
        must(world, "I10", rc == HG_ENOMEM || rc == HG_ETOOBIG || rc == HG_ELIMIT, "set: %s",
             hg_err_name(rc));
    }
    hg_group_remove(group, key_name(key), now_ms);
}

static void everywhere(struct world *world, unsigned key)
{
    uint64_t how = below(world, 10);
    enum op op = how < 4 ? OP_REMOVE : how < 7 ? OP_SET : OP_EXPIRE;
    uint64_t version = world->keys[key].version;

    if (op == OP_SET && key_is_absent(world, key, version))
        op = OP_REMOVE;
    trace(world, -1, "everywhere", key, op);
    for (unsigned i = 0; i < world->options.nodes; i++)
        if (world->nodes[i].is_alive)
            apply(&world->nodes[i], key, op, version);
    if (op != OP_EXPIRE)
        raise_floor(world, key, version, false);
}

/* All keys of a tag, or of the group. */
static void everywhere_many(struct world *world, unsigned key)
{
    unsigned group = key_group(key), tag = tag_of(key);
    bool is_flush = tag == TAGS || chance(world, 200);
    bool is_soft = chance(world, 200);

    for (unsigned i = 0; i < world->options.nodes; i++) {
        struct node *node = &world->nodes[i];
        if (!node->is_alive)
            continue;
        if (is_flush)
            hg_group_flush(node->group[group], node_now(node));
        else
            hg_group_remove_tag(node->group[group], tag_name(tag), is_soft, node_now(node));
    }
    trace(world, -1, is_flush ? "flush" : "tag", group, tag);
    for (unsigned other = group * KEYS_MAX; other < (group + 1) * KEYS_MAX; other++) {
        bool is_meant = is_flush || (tag_of(other) == tag && !is_soft);
        if (is_meant && !world->keys[other].is_changing)
            raise_floor(world, other, world->keys[other].version, !is_flush);
    }
}

static unsigned any_key(struct world *world)
{
    unsigned number = (unsigned)below(world, world->options.keys);
    return (unsigned)below(world, GROUPS) * KEYS_MAX + number;
}

static void writes(struct world *world, void *arg)
{
    unsigned key = any_key(world);

    (void)arg;
    if (world->is_healed)
        return;
    key_new_version(world, key);
    if (chance(world, world->options.p_silent_write) || world->keys[key].is_changing)
        ; /* nobody is told */
    else if (chance(world, 250))
        everywhere_many(world, key);
    else
        everywhere(world, key);
    after(world, 1 + below(world, 2 * world->options.write_each_ms), NULL, writes, NULL);
}

/* ---- one node tells the others ---- */

static void tell(struct change *change, unsigned to, bool is_put, bool is_first);

static void finish(struct change *change)
{
    struct world *world = change->node->world;
    struct key *key = &world->keys[change->key];
    unsigned all = (1u << world->options.nodes) - 1;

    if (change->is_over)
        return;
    change->is_over = true;
    world->open_changes--;
    key->is_changing = false;
    bool is_whole = !change->has_failed && change->acknowledged == all && views_agree(world) &&
                    world->views_differ_at < change->started && world->odd_at < change->started;
    trace(world, (int)change->node->index, "changed", change->key, is_whole);
    if (is_whole && change->op != OP_EXPIRE)
        raise_floor(world, change->key, change->version, false);
    if (change->op == OP_SET && change->acknowledged != all) {
        key->is_unordered = true; /* its PUT may still be on its way */
        key->floor = key->floor_absent = 0;
    }
}

static void tell_others(struct change *change)
{
    struct node *node = change->node;
    struct world *world = node->world;

    change->has_told_others = true;
    if (change->owner != node->index) {
        apply(node, change->key, change->op == OP_EXPIRE ? OP_EXPIRE : OP_REMOVE, 0);
        change->acknowledged |= 1u << node->index;
    }
    for (unsigned i = 0; i < world->options.nodes; i++)
        if (i != node->index && i != change->owner && (node->view_mask & 1u << i))
            tell(change, i, false, false);
    if (change->outstanding == 0)
        finish(change);
}

static void word_done(struct word *word, bool is_known)
{
    struct change *change = word->change;

    if (word->is_over)
        return;
    word->is_over = true;
    change->outstanding--;
    if (is_known)
        change->acknowledged |= 1u << word->to;
    else if (word->is_first)
        change->has_failed = true;
    if (!change->node->is_alive || change->node->epoch != change->epoch)
        finish(change);
    else if (word->is_first && !change->has_told_others && (is_known || change->op != OP_SET))
        tell_others(change);
    else if (change->outstanding == 0)
        finish(change);
}

static void word_returns(struct world *world, void *arg)
{
    (void)world;
    word_done(arg, ((struct word *)arg)->is_known);
}

static void word_times_out(struct world *world, void *arg)
{
    (void)world;
    word_done(arg, false);
}

static bool put(struct node *node, unsigned key, struct hg_bytes body)
{
    struct world *world = node->world;
    struct hg_peer_response response;
    void *owner = NULL;
    int err = hg_peer_response_decode(body, &response, &owner);
    struct hg_value *value = err < 0 ? NULL : hg_peer_response_to_value(&response, key_name(key));

    hg_peer_message_free(owner);
    if (value != NULL)
        err = hg_group_set(node->group[key_group(key)], value, node_now(node));
    else if (err == HG_OK)
        err = HG_ENOMEM;
    hg_value_unref(value);
    must(world, "I9", err == HG_OK || err == HG_ENOMEM || err == HG_ETOOBIG || err == HG_ELIMIT,
         "a whole PUT of key %u: %s", key, hg_err_name(err));
    /* peer_side.c acknowledges what does not fit, for the older entry is gone. */
    return err != HG_ENOMEM && err != HG_ETOOBIG;
}

static void word_served(struct world *world, void *arg)
{
    struct word *word = arg;
    struct change *change = word->change;
    struct node *node = &world->nodes[word->to];
    uint64_t delays[2];

    trace(world, (int)node->index, word->is_put ? "put" : "delete", change->key, change->version);
    if (world->now - change->started > world->lag_net)
        world->lag_net = world->now - change->started;
    word->is_known = true;
    if (word->is_put)
        word->is_known = put(node, change->key, change->body);
    else
        apply(node, change->key, change->op == OP_EXPIRE ? OP_EXPIRE : OP_REMOVE, 0);
    if (link_fate(world, node->index, change->node->index, delays) > 0)
        after(world, delays[0], NULL, word_returns, word);
}

static void word_lands(struct world *world, void *arg)
{
    struct word *word = arg;
    if (world->nodes[word->to].is_alive)
        after(world, 0, &world->nodes[word->to], word_served, word);
}

static void tell(struct change *change, unsigned to, bool is_put, bool is_first)
{
    struct world *world = change->node->world;
    struct word *word = arena_get(world, sizeof(*word));
    uint64_t delays[2];

    *word = (struct word){.change = change, .to = to, .is_put = is_put, .is_first = is_first};
    change->outstanding++;
    if (link_fate(world, change->node->index, to, delays) > 0)
        after(world, delays[0], NULL, word_lands, word);
    after(world, world->options.lease_ms, NULL, word_times_out, word);
}

static bool encode(struct world *world, struct change *change)
{
    struct hg_value *value = origin_value(world, change->key, change->version);
    struct hg_peer_response response;
    struct hg_buf body;

    if (value == NULL)
        return false;
    hg_buf_init(&body, 1 << 20);
    struct hg_value_more more = hg_value_more(value);
    hg_peer_response_from_value(value, more.ttl_ms, more.has_ttl, 0, &response);
    int err = hg_peer_response_encode(&response, &body);
    change->body = arena_copy(world, hg_buf_bytes(&body));
    hg_buf_finish(&body);
    hg_value_unref(value);
    return err == HG_OK;
}

static void changes(struct world *world, void *arg)
{
    unsigned key = any_key(world);
    struct node *node = &world->nodes[below(world, world->options.nodes)];
    const struct hg_view *view = node->is_alive ? hg_groups_view(node->groups) : NULL;
    uint64_t dice = below(world, 10);

    (void)arg;
    if (world->is_healed)
        return;
    after(world, 1 + below(world, 2 * world->options.change_each_ms), NULL, changes, NULL);
    if (view == NULL || node_is_paused(node) || world->keys[key].is_changing)
        return;
    struct change *change = arena_get(world, sizeof(*change));
    key_new_version(world, key);
    *change = (struct change){.node = node,
                              .epoch = node->epoch,
                              .key = key,
                              .op = dice < 5   ? OP_REMOVE
                                    : dice < 9 ? OP_SET
                                               : OP_EXPIRE,
                              .version = world->keys[key].version,
                              .started = world->now};
    size_t owner = hg_ring_owner(view->ring, key_name(key));
    change->owner = (unsigned)(hg_ring_member(view->ring, owner).data[5] - 'a');
    if (change->op == OP_SET && key_is_absent(world, key, change->version))
        change->op = OP_REMOVE;
    if (change->op == OP_SET && !encode(world, change))
        return;
    world->keys[key].is_changing = true;
    world->open_changes++;
    trace(world, (int)node->index, "change", key, change->op);
    if (change->owner != node->index) {
        tell(change, change->owner, change->op == OP_SET, true);
        if (hg_bug(HG_BUG_TELL_AT_ONCE) && change->op == OP_REMOVE)
            tell_others(change);
        return;
    }
    if (change->op == OP_SET && !put(node, key, change->body)) {
        change->has_failed = true;
        finish(change);
        return;
    }
    if (change->op != OP_SET)
        apply(node, key, change->op, 0);
    change->acknowledged |= 1u << node->index;
    tell_others(change);
}

void changes_start(struct world *world)
{
    if (world->options.write_each_ms > 0)
        after(world, 0, NULL, writes, NULL);
    if (world->options.change_each_ms > 0)
        after(world, 0, NULL, changes, NULL);
}
