/*
 * The members of the cluster as this node follows them: a list that never changes, or those that discovery proposes
 * (script/lib_members.c) from its own thread.
 *
 *   list -> hg_view_create (cluster/membership.h decides) -> published -> the first worker's contact follows
 *        \-> refused, or deferred while too many replaced views are there: the last good view stays, counted and logged
 *
 * Discovery is the only writer. A ring of many members takes long to build, so that is done without the lock, which the control
 * loop wants; until it is done no view is freed, and so no peer that the new one takes over.
 *
 * A view that was replaced is freed once nobody holds it and HELD_TICKS of the control loop have passed, in which everybody
 * who had read the pointer came to hold it or was done. Ticks and not time: they stand still when the process does.
 */
#include <stdio.h>
#include "base/alloc.h"
#include "net/clock.h"
#include "node/node_impl.h"

#define HELD_TICKS 100 /* of housekeeping: 10 s */

struct replaced {
    struct hg_list link;
    const struct hg_view *view;
    unsigned ticks;
};

struct hg_node_members {
    pthread_mutex_t turn; /* of who proposes */
    char refused[256];    /* why the last list was, as it was logged; its turn's */
    /* Of the next three. While it builds discovery reads them without it. */
    pthread_mutex_t lock;
    struct hg_list replaced;
    const struct hg_view *current; /* the published one */
    bool is_building;              /* nothing is freed */
    struct replaced *next;         /* for when it is replaced */
    atomic_bool has_list;
    _Atomic uint64_t fresh_ms, changed_ms, ignored, views;
    struct hg_node_members_counters counters;
};

struct making {
    struct hg_node *node;
    struct hg_peer **made; /* anew, to be undone */
    size_t made_count;
};

static const char *source_of(const struct hg_node *node)
{
    return node->config->discovery != NULL ? node->config->discovery : "static";
}

static struct hg_peer *peer_of(const struct hg_view *view, struct hg_bytes name)
{
    long index = view == NULL ? -1 : hg_ring_find(view->ring, name);
    return index < 0 ? NULL : view->peers[index];
}

/* What is known of a member's health stays, also of one that was gone for a moment. */
static struct hg_peer *known_peer(const struct hg_node *node, struct hg_bytes name)
{
    struct hg_peer *peer = peer_of(node->members->current, name);
    hg_list_for_each(it, &node->members->replaced)
    {
        if (peer != NULL)
            break;
        peer = peer_of(hg_container_of(it, struct replaced, link)->view, name);
    }
    return peer;
}

static void *make_peer(void *ctx, struct hg_bytes name, char *error, size_t error_size)
{
    struct making *making = ctx;
    struct hg_peer *peer = known_peer(making->node, name);
    if (peer != NULL)
        return peer;
    if (hg_peer_create(name, &making->node->peers_config, &peer, error, error_size) < 0)
        return NULL;
    making->made[making->made_count++] = peer;
    return peer;
}

static int view_create(struct hg_node *node, const struct hg_bytes *items, size_t count,
                       struct hg_view **out_view, char *error, size_t error_size)
{
    const struct hg_config *config = node->config;
    struct making making = {.node = node, .made = hg_calloc(count + 1, sizeof(*making.made))};
    if (making.made == NULL) {
        snprintf(error, error_size, "%s", hg_err_text(HG_ENOMEM));
        return HG_ENOMEM;
    }
    int err = hg_view_create(&config->ring, items, count, hg_bytes_str(config->self), make_peer,
                             &making, out_view, error, error_size);
    for (size_t i = 0; err < 0 && i < making.made_count; i++)
        hg_peer_destroy(making.made[i]);
    hg_free(making.made);
    return err;
}

static bool is_same(const struct hg_view *view, const struct hg_bytes *items, size_t count)
{
    bool is_seen[HG_RING_MEMBERS_MAX] = {false};
    if (count != hg_ring_member_count(view->ring))
        return false;
    for (size_t i = 0; i < count; i++) {
        long index = hg_ring_find(view->ring, items[i]);
        if (index < 0 || is_seen[index])
            return false;
        is_seen[index] = true;
    }
    return true;
}

static void on_follow(struct hg_mail *mail)
{
    struct hg_node *node = hg_container_of(mail, struct hg_node, follow);
    atomic_store(&node->follow_posted, false);
    hg_node_contact_follow(node);
}

/* The view that was there goes to the replaced ones. */
static void publish(struct hg_node *node, struct hg_view *view, struct replaced *next)
{
    struct hg_node_members *members = node->members;
    pthread_mutex_lock(&members->lock);
    if (members->current != NULL) {
        members->next->view = members->current;
        hg_list_push_back(&members->replaced, &members->next->link);
    }
    members->current = view;
    members->next = next;
    atomic_fetch_add(&members->views, 1);
    atomic_store(&members->changed_ms, hg_clock_boot_ms());
    hg_groups_set_view(node->groups, view);
    pthread_mutex_unlock(&members->lock);
}

static void set_building(struct hg_node_members *members, bool is_building)
{
    pthread_mutex_lock(&members->lock);
    members->is_building = is_building;
    pthread_mutex_unlock(&members->lock);
}

static int defer(struct hg_node *node, char *error, size_t error_size)
{
    static struct hg_log_limit limit;
    HG_COUNT_UP(node->members->counters.deferred);
    snprintf(error, error_size, "%d lists before it are not freed yet", HG_NODE_REPLACED_MAX);
    hg_log_limited(&limit, 1, HG_LOG_WARN, "members deferred source=%s err=\"%s\"",
                   source_of(node), error);
    return HG_ELIMIT;
}

static int replace(struct hg_node *node, const struct hg_bytes *items, size_t count, char *error,
                   size_t error_size)
{
    static struct hg_log_limit limit;
    struct hg_view *view;
    struct replaced *next = hg_calloc(1, sizeof(*next));
    int err = next == NULL ? HG_ENOMEM : view_create(node, items, count, &view, error, error_size);
    if (err < 0) {
        if (next == NULL)
            snprintf(error, error_size, "%s", hg_err_text(err));
        hg_free(next);
        HG_COUNT_UP(node->members->counters.refused);
        /* Said once; what there was no room for is said with a later look. */
        if (strncmp(error, node->members->refused, sizeof(node->members->refused) - 1) != 0 &&
            hg_log_limited(&limit, 2, HG_LOG_WARN, "members refused source=%s err=\"%s\"",
                           source_of(node), error))
            snprintf(node->members->refused, sizeof(node->members->refused), "%s", error);
        return err;
    }
    node->members->refused[0] = '\0';
    publish(node, view, next);
    HG_COUNT_UP(node->members->counters.changes);
    hg_log(HG_LOG_INFO, "members changed source=%s count=%zu fingerprint=%016llx",
           source_of(node), count, (unsigned long long)hg_ring_fingerprint(view->ring));
    if (!atomic_exchange(&node->follow_posted, true))
        hg_loop_post(&node->workers[0].loop, &node->follow);
    return HG_PENDING;
}

int hg_node_members_propose(void *ctx, const struct hg_bytes *items, size_t count, size_t ignored,
                            char *error, size_t error_size)
{
    struct hg_node *node = ctx;
    struct hg_node_members *members = node->members;
    int err = HG_OK;
    /* A reload's discovery, or list, may come while that of the configuration before it still ends. */
    pthread_mutex_lock(&members->turn);
    set_building(members, true);
    if (!is_same(members->current, items, count))
        err = atomic_load(&members->views) > HG_NODE_REPLACED_MAX
                  ? defer(node, error, error_size)
                  : replace(node, items, count, error, error_size);
    set_building(members, false);
    pthread_mutex_unlock(&members->turn);
    if (err < 0)
        return err;
    atomic_store(&members->fresh_ms, hg_clock_boot_ms());
    atomic_store(&members->ignored, ignored);
    if (!atomic_exchange(&members->has_list, true))
        hg_log(HG_LOG_INFO, "members known source=%s count=%zu", node->config->discovery, count);
    return err;
}

void hg_node_members_failed(void *ctx, const char *why)
{
    static struct hg_log_limit limit;
    struct hg_node *node = ctx;
    HG_COUNT_UP(node->members->counters.failures);
    hg_log_limited(&limit, 2, HG_LOG_WARN, "members not known source=%s err=\"%s\"",
                   node->config->discovery, why);
}

uint64_t hg_node_members_identity(void *ctx)
{
    return hg_changes_boot(((struct hg_node *)ctx)->changes);
}

void hg_node_members_give_up(void *ctx, const char *why)
{
    hg_node_exit_now(ctx, why);
}

bool hg_node_members_are_known(const struct hg_node *node)
{
    return node->members == NULL || atomic_load(&node->members->has_list);
}

struct hg_node_members_stats hg_node_members_stats(const struct hg_node *node)
{
    const struct hg_node_members *members = node->members;
    uint64_t fresh_ms = atomic_load(&members->fresh_ms);
    uint64_t changed_ms = atomic_load(&members->changed_ms), now_ms = hg_clock_boot_ms();
    struct hg_node_members_stats stats = {
        .changed_ms = now_ms - changed_ms,
        .ignored = atomic_load(&members->ignored),
        .views = atomic_load(&members->views),
        .source = source_of(node)};
#define X(name) stats.name = atomic_load_explicit(&members->counters.name, memory_order_relaxed);
    HG_NODE_MEMBERS_COUNTERS(X)
#undef X
    if (node->config->discovery != NULL)
        stats.age_ms = now_ms > fresh_ms ? now_ms - fresh_ms : 0;
    return stats;
}

/* No view but this one knows the peer. */
static bool is_last(const struct hg_node *node, struct hg_peer *peer)
{
    return known_peer(node, hg_bytes_str(hg_peer_name(peer))) != peer;
}

/* It is among neither the replaced ones nor the published one any more. */
static void view_free(const struct hg_node *node, const struct hg_view *view)
{
    atomic_fetch_sub(&node->members->views, 1);
    for (size_t i = 0; i < hg_ring_member_count(view->ring); i++) {
        if (view->peers[i] != NULL && is_last(node, view->peers[i]))
            hg_peer_destroy(view->peers[i]);
    }
    hg_view_destroy((struct hg_view *)(uintptr_t)view);
}

void hg_node_members_tick(struct hg_node *node)
{
    struct hg_node_members *members = node->members;
    if (members == NULL)
        return;
    pthread_mutex_lock(&members->lock);
    hg_list_for_each_safe(it, &members->replaced)
    {
        struct replaced *replaced = hg_container_of(it, struct replaced, link);
        if (replaced->ticks++ < HELD_TICKS || members->is_building ||
            hg_view_is_held(replaced->view))
            continue;
        hg_list_remove(&replaced->link);
        view_free(node, replaced->view);
        hg_free(replaced);
    }
    pthread_mutex_unlock(&members->lock);
}

int hg_node_members_init(struct hg_node *node)
{
    struct hg_config *config = node->config;
    struct hg_bytes self = hg_bytes_str(config->self);
    bool is_static = config->discovery == NULL;
    if (!config->has_cluster)
        return HG_OK;
    node->peers_config = (struct hg_peers_config){
        .self = config->self,
        .base_path = config->base_path,
        .transport = config->transport,
        .timeout_ms = config->peer_timeout_ms,
        .message_max = config->limits.peer_message,
        .token = config->peer_tokens.count > 0 ? config->peer_tokens.items[0].data : NULL,
        .pick_log = "Pick peer %s",
    };
    node->follow.deliver = on_follow;
    struct hg_node_members *members = hg_calloc(1, sizeof(*members));
    struct replaced *next = hg_calloc(1, sizeof(*next));
    if (members == NULL || next == NULL) {
        hg_free(members);
        hg_free(next);
        return HG_ENOMEM;
    }
    pthread_mutex_init(&members->lock, NULL);
    pthread_mutex_init(&members->turn, NULL);
    hg_list_init(&members->replaced);
    atomic_store(&members->has_list, is_static);
    atomic_store(&members->fresh_ms, hg_clock_boot_ms());
    node->members = members;
    char error[256] = "";
    struct hg_view *view;
    /* Before discovery has said anything the node is alone. */
    int err = view_create(node, is_static ? config->peers.items : &self,
                          is_static ? config->peers.count : 1, &view, error, sizeof(error));
    if (err < 0) {
        hg_log(HG_LOG_ERROR, "cluster: %s", error[0] != 0 ? error : hg_err_text(err));
        hg_free(next);
        return err;
    }
    publish(node, view, next);
    return HG_OK;
}

void hg_node_members_finish(struct hg_node *node)
{
    struct hg_node_members *members = node->members;
    struct hg_list *link;
    if (members == NULL)
        return;
    while ((link = hg_list_pop_front(&members->replaced)) != NULL) {
        struct replaced *replaced = hg_container_of(link, struct replaced, link);
        view_free(node, replaced->view);
        hg_free(replaced);
    }
    const struct hg_view *last = members->current;
    members->current = NULL;
    if (last != NULL)
        view_free(node, last);
    hg_free(members->next);
    pthread_mutex_destroy(&members->lock);
    pthread_mutex_destroy(&members->turn);
    hg_free(members);
    node->members = NULL;
}
