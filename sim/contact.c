/* A node asks the others for changes it may have missed, each quarter lease: cluster/contact over the simulated links. */
#include "world.h"

#include "base/bug.h"

#define ANSWER_BYTES 4096

struct inquiry {
    struct node *node;
    unsigned epoch, to;
    struct hg_changes_place place;
    struct hg_bytes answer;
    bool is_damaged, is_over;
};

static void inquire(struct node *node, unsigned to);

static void inquiry_done(struct inquiry *inquiry, struct hg_bytes answer)
{
    struct node *node = inquiry->node;

    if (inquiry->is_over || !node->is_alive || node->epoch != inquiry->epoch)
        return;
    inquiry->is_over = true;
    if (hg_contact_answered(node->contact, inquiry->to, answer, node_now(node)))
        inquire(node, inquiry->to);
}

static void answer_comes(struct world *world, void *arg)
{
    struct inquiry *inquiry = arg;
    (void)world;
    inquiry_done(inquiry, inquiry->is_damaged ? HG_BYTES_NONE : inquiry->answer);
}

static void inquiry_ends(struct world *world, void *arg)
{
    (void)world;
    inquiry_done(arg, HG_BYTES_NONE);
}

static void inquiry_served(struct world *world, void *arg)
{
    struct inquiry *inquiry = arg;
    struct node *node = &world->nodes[inquiry->to];
    struct hg_changes_place place;
    struct hg_buf text, body;
    uint64_t delays[2];

    hg_buf_init(&text, 64);
    hg_buf_init(&body, 1 << 20);
    int err = hg_changes_place_format(&inquiry->place, &text);
    if (err == HG_OK) {
        err = hg_changes_place_parse(hg_buf_bytes(&text), &place);
        must(world, "I9", err == HG_OK, "a place in a log does not come back");
        err = hg_changes_answer(node->changes, &place, ANSWER_BYTES, &body);
    }
    inquiry->answer = arena_copy(world, hg_buf_bytes(&body));
    hg_buf_finish(&text);
    hg_buf_finish(&body);
    trace(world, (int)node->index, "tells changes", inquiry->node->index, inquiry->answer.len);
    if (err == HG_OK && link_fate(world, node->index, inquiry->node->index, delays) > 0)
        after(world, delays[0], inquiry->node, answer_comes, inquiry);
}

static void inquiry_lands(struct world *world, void *arg)
{
    struct inquiry *inquiry = arg;
    if (world->nodes[inquiry->to].is_alive)
        after(world, 0, &world->nodes[inquiry->to], inquiry_served, inquiry);
}

static void inquire(struct node *node, unsigned to)
{
    struct world *world = node->world;
    struct inquiry *inquiry = arena_get(world, sizeof(*inquiry));
    uint64_t delays[2];

    *inquiry = (struct inquiry){.node = node, .epoch = node->epoch, .to = to};
    if (!hg_contact_ask(node->contact, to, node_now(node), &inquiry->place))
        return;
    inquiry->is_damaged = !world->is_healed && chance(world, world->options.p_flip);
    if (link_fate(world, node->index, to, delays) > 0)
        after(world, delays[0], NULL, inquiry_lands, inquiry);
    after(world, node_wait(node, world->options.lease_ms), node, inquiry_ends, inquiry);
}

static void contact_ticks(struct world *world, void *arg)
{
    struct node *node = arg;

    if (world->is_closing)
        return;
    hg_contact_tick(node->contact, node_now(node));
    for (unsigned i = 0; i < world->options.nodes; i++)
        if (i != node->index)
            inquire(node, i);
    after(world, node_wait(node, world->options.contact_ms), node, contact_ticks, node);
}

void contact_start(struct node *node)
{
    struct world *world = node->world;

    if (hg_changes_create(node->groups, 1 + below(world, UINT64_MAX - 1),
                          (size_t)world->options.changes_kept, &node->changes) < 0 ||
        hg_contact_create(node->groups, node->changes, (size_t)world->options.nodes, node->index,
                          &node->contact) < 0)
        world_fail(world, "sim", "contact");
    if (world->options.contact_ms > 0 && world->options.nodes > 1)
        after(world, 0, node, contact_ticks, node);
}
