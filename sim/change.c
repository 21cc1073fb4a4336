/*
 * What changes at the origin, and how the nodes hear of it.
 *
 *   silently           nobody is told: lives and windows bound how long it may be unseen
 *   everywhere at once each node is told at one moment; from then on nobody may get what was before
 *   as node/change.c   one node tells the others by messages (cluster/write.h)
 */
#include "world.h"

#include "base/bug.h"

enum op { OP_REMOVE, OP_SET, OP_EXPIRE };

struct change {
    struct node *node; /* who tells */
    unsigned epoch, key, known;
    enum hg_change_op op;
    uint64_t versions[ALL_KEYS], started; /* current when it began */
    struct hg_write *write;
    bool is_finished;
};

struct word {
    struct change *change;
    unsigned to, round;
    struct hg_bytes body;
    bool is_over;
};

/* Whether the change is about this key. */
static bool is_meant(const struct change *change, unsigned key)
{
    switch (change->op) {
    case HG_CHANGE_FLUSH:
        return key_group(key) == key_group(change->key);
    case HG_CHANGE_REMOVE_TAG:
    case HG_CHANGE_EXPIRE_TAG:
        return key_group(key) == key_group(change->key) && tag_of(key) == tag_of(change->key);
    default:
        return key == change->key;
    }
}

/* Who does not acknowledge then was paused or away: it catches up before it answers. */
static bool has_good_links(const struct world *world)
{
    const struct options *o = &world->options;
    return o->contact_ms > 0 && o->p_loss + o->p_flip + o->p_slow_link + o->p_no_memory == 0 &&
           o->partition_each_ms == 0 && 16 * o->delay_ms < o->lease_ms;
}

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

static void finish(struct change *change)
{
    struct world *world = change->node->world;
    struct key *key = &world->keys[change->key];
    unsigned all = (1u << world->options.nodes) - 1;

    change->is_finished = true;
    world->open_changes--;
    bool is_ended =
        change->write->is_over && change->write->err == HG_OK; /* else its node crashed */
    bool is_whole = is_ended && views_agree(world) && world->views_differ_at < change->started &&
                    (world->odd_at < change->started || change->write->round > 0);
    for (unsigned i = 0; i < world->options.nodes; i++)
        is_whole &= hg_write_is_acknowledged(change->write, i) || has_good_links(world);
    trace(world, (int)change->node->index, "changed", change->key, is_whole);
    for (unsigned other = 0; other < ALL_KEYS; other++) {
        if (!is_meant(change, other))
            continue;
        world->keys[other].is_changing = false;
        if (is_whole && change->op != HG_CHANGE_EXPIRE && change->op != HG_CHANGE_EXPIRE_TAG)
            raise_floor(world, other, change->versions[other], change->op == HG_CHANGE_REMOVE_TAG);
    }
    if (change->op == HG_CHANGE_SET && change->known != all) {
        key->is_unordered = true; /* its message may still be on its way */
        key->floor = key->floor_absent = 0;
    }
}

static void look(struct change *change)
{
    bool is_gone = !change->node->is_alive || change->node->epoch != change->epoch;
    if (!change->is_finished && (change->write->is_over || is_gone))
        finish(change);
}

/* While its node is paused, so is the write. */
static void write_ticks(struct world *world, void *arg)
{
    struct change *change = arg;
    struct node *node = change->node;

    if (change->is_finished)
        return;
    bool is_there = node->is_alive && node->epoch == change->epoch;
    if (is_there && !node_is_paused(node))
        hg_write_tick(change->write, node_now(node));
    look(change);
    uint64_t due_ms = hg_write_due(change->write), now_ms = node_now(node);
    uint64_t wait_ms = due_ms > now_ms ? node_wait(node, due_ms - now_ms) : 1;
    after(world, wait_ms < 20 ? wait_ms : 20, NULL, write_ticks, change);
}

static void word_done(struct word *word, bool is_known)
{
    struct change *change = word->change;
    struct node *node = change->node;

    if (word->is_over)
        return;
    word->is_over = true;
    if (is_known && word->round == 0)
        change->known |= 1u << word->to;
    if (node->is_alive && node->epoch == change->epoch)
        hg_write_told(change->write, word->to, word->round, is_known, true, node_now(node));
    look(change);
}

static void word_returns(struct world *world, void *arg)
{
    (void)world;
    word_done(arg, true);
}

static void word_times_out(struct world *world, void *arg)
{
    (void)world;
    word_done(arg, false);
}

/* As peer_side.c: what does not fit is acknowledged, for the older entry is gone. */
static bool carry_out(struct node *node, const struct hg_peer_change *change)
{
    struct world *world = node->world;
    bool was_there;
    int err = hg_changes_apply(node->changes, change, false, node_now(node), &was_there);

    must(world, "I9", err == HG_OK || err == HG_ENOMEM || err == HG_ETOOBIG || err == HG_ELIMIT,
         "a whole change: %s", hg_err_name(err));
    return err == HG_OK || err == HG_ELIMIT;
}

static void word_served(struct world *world, void *arg)
{
    struct word *word = arg;
    struct change *change = word->change;
    struct node *node = &world->nodes[word->to];
    struct hg_peer_change told;
    void *owner = NULL;
    uint64_t delays[2];

    trace(world, (int)node->index, "told", change->key, (uint64_t)change->op);
    if (world->now - change->started > world->lag_net)
        world->lag_net = world->now - change->started;
    int err = hg_peer_change_decode(word->body, &told, &owner);
    must(world, "I9", err == HG_OK || err == HG_ENOMEM, "a whole change does not decode: %s",
         hg_err_name(err));
    bool is_known = err == HG_OK && carry_out(node, &told);
    hg_peer_message_free(owner);
    if (is_known && link_fate(world, node->index, change->node->index, delays) > 0)
        after(world, delays[0], change->node, word_returns, word);
}

static void word_lands(struct world *world, void *arg)
{
    struct word *word = arg;
    struct node *node = &world->nodes[word->to];

    /* Who told has given the connection up before a sleeper wakes. */
    if (node_is_paused(node) && chance(world, 500))
        return;
    if (node->is_alive)
        after(world, 0, node, word_served, word);
}

static int tell(void *ctx, size_t member, unsigned round, const struct hg_peer_change *told)
{
    struct change *change = ctx;
    struct world *world = change->node->world;
    uint64_t delays[2];
    struct hg_buf body;

    if (!(change->node->view_mask & 1u << member))
        return HG_EPEER;
    hg_buf_init(&body, 1 << 20);
    int err = hg_peer_change_encode(told, &body);
    struct word *word = arena_get(world, sizeof(*word));
    *word = (struct word){.change = change, .to = (unsigned)member, .round = round};
    word->body = arena_copy(world, hg_buf_bytes(&body));
    hg_buf_finish(&body);
    if (err < 0)
        return err;
    if (link_fate(world, change->node->index, (unsigned)member, delays) > 0)
        after(world, delays[0], NULL, word_lands, word);
    after(world, node_wait(change->node, world->options.lease_ms), change->node, word_times_out,
          word);
    return HG_OK;
}

static int apply_here(void *ctx, const struct hg_peer_change *told, bool *out_was_there)
{
    struct change *change = ctx;
    (void)out_was_there;
    if (!carry_out(change->node, told))
        return HG_ENOMEM;
    if (!told->is_copies)
        change->known |= 1u << change->node->index;
    return HG_OK;
}

static const struct hg_write_ops write_ops = {.tell = tell, .apply = apply_here};

static bool encode(struct world *world, struct change *change)
{
    struct hg_value *value = origin_value(world, change->key, change->versions[change->key]);
    struct hg_peer_response response;
    struct hg_buf body;

    if (value == NULL)
        return false;
    hg_buf_init(&body, 1 << 20);
    struct hg_value_more more = hg_value_more(value);
    hg_peer_response_from_value(value, more.ttl_ms, more.has_ttl, 0, &response);
    int err = hg_peer_response_encode(&response, &body);
    change->write->change.value = arena_copy(world, hg_buf_bytes(&body));
    hg_buf_finish(&body);
    hg_value_unref(value);
    return err == HG_OK;
}

static enum hg_change_op draw_op(struct world *world, unsigned key)
{
    uint64_t dice = below(world, 14);
    bool is_absent = key_is_absent(world, key, world->keys[key].version);

    if (dice >= 13)
        return HG_CHANGE_FLUSH;
    if (dice >= 10 && tag_of(key) != TAGS)
        return dice == 12 ? HG_CHANGE_EXPIRE_TAG : HG_CHANGE_REMOVE_TAG;
    if (dice >= 9)
        return HG_CHANGE_EXPIRE;
    return dice >= 5 && !is_absent ? HG_CHANGE_SET : HG_CHANGE_REMOVE;
}

static void begin(struct world *world, struct node *node, const struct hg_view *view, unsigned key)
{
    struct change *change = arena_get(world, sizeof(*change));
    struct hg_bytes name = key_name(key);
    size_t owner = hg_ring_owner(view->ring, name);

    key_new_version(world, key);
    change->node = node;
    change->epoch = node->epoch;
    change->key = key;
    change->op = draw_op(world, key);
    change->started = world->now;
    change->write = arena_get(world, hg_write_size((size_t)world->options.nodes));
    bool is_of_key = change->op <= HG_CHANGE_EXPIRE;
    bool is_flush = change->op == HG_CHANGE_FLUSH;
    *change->write = (struct hg_write){
        .change = {.origin = hg_changes_boot(node->changes),
                   .sequence = hg_changes_next_sequence(node->changes),
                   .op = change->op,
                   .group = hg_bytes_str(hg_group_name(node->group[key_group(key)])),
                   .name = arena_copy(world, is_flush    ? HG_BYTES_NONE
                                             : is_of_key ? name
                                                         : tag_name(tag_of(key)))},
        .ops = &write_ops,
        .ctx = change,
        .self = node->index,
        .owner = is_of_key ? (size_t)(hg_ring_member(view->ring, owner).data[5] - 'a')
                           : HG_WRITE_NO_OWNER,
        .member_count = (size_t)world->options.nodes,
        .lease_ms = world->options.lease_ms,
    };
    for (unsigned other = 0; other < ALL_KEYS; other++)
        change->versions[other] = world->keys[other].version;
    if (change->op == HG_CHANGE_SET && !encode(world, change))
        return;
    for (unsigned other = 0; other < ALL_KEYS; other++)
        if (is_meant(change, other) && world->keys[other].is_changing)
            return; /* another change is at it */
    for (unsigned other = 0; other < ALL_KEYS; other++)
        if (is_meant(change, other))
            world->keys[other].is_changing = true;
    world->open_changes++;
    trace(world, (int)node->index, "change", key, (uint64_t)change->op);
    hg_write_start(change->write, node_now(node));
    write_ticks(world, change);
}

static void changes(struct world *world, void *arg)
{
    unsigned key = any_key(world);
    struct node *node = &world->nodes[below(world, world->options.nodes)];
    const struct hg_view *view = node->is_alive ? hg_groups_view(node->groups) : NULL;

    (void)arg;
    if (world->is_healed)
        return;
    after(world, 1 + below(world, 2 * world->options.change_each_ms), NULL, changes, NULL);
    if (view != NULL && !node_is_paused(node) && !world->keys[key].is_changing)
        begin(world, node, view, key);
}

void changes_start(struct world *world)
{
    if (world->options.write_each_ms > 0)
        after(world, 0, NULL, writes, NULL);
    if (world->options.change_each_ms > 0)
        after(world, 0, NULL, changes, NULL);
}
