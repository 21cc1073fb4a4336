/*
 * Another configuration while the node runs:
 *
 *   HUP, POST /reload -> a thread of its own: load, compare, make (generation.c) -> control loop: publish
 *                                        \-> refused: nothing has changed, the answer and the log say why
 *   publish (publish.c): it serves
 *   later:   groups that went are dropped once no front answers with an earlier generation; a generation is ended by a thread of its
 *            own once nobody holds it, and its loads and calls, and for node.drain_timeout its other coroutines, are done.
 *
 * node.reload_guard: the generation before is kept while the window lasts, and serves again where the getters of some group fail more
 * than that, and more than they did before.
 */
#include <stdio.h>
#include "base/alloc.h"
#include "net/clock.h"
#include "node/difference.h"
#include "node/node.h"
#include "node/node_impl.h"
#include "wire/reply.h"

#define STACK_BYTES    ((size_t)64 << 20) /* as of a script thread: the chunk runs on it */
#define GUARD_FAILED   5 /* loads of a group: fewer failures say nothing, unless they open its breaker */
#define CHANGES_LOGGED 50
#define BODY_MAX       (1u << 20)
#define WAIT_MS        10000 /* for a place, and for workers that answer with an earlier generation */

/* A thread that does one thing and says that it is done. */
struct aside {
    struct hg_node *node;
    struct hg_generation *generation;
    bool is_running; /* control loop only */
    pthread_t thread;
    struct hg_mail done; /* to the control loop */
};

struct hg_reload {
    struct aside build, clear;
    /* Of build: written by its thread until it says that it is done. */
    int err;
    char *error, *changes;
    uint64_t started_ms;
    /* Control loop only. */
    struct hg_list asks; /* who waits for what is being built: hg_reload_ask.link */
    uint64_t wanted_ms;  /* since then, once what is under way is over; 0: none is */
    bool has_to_drop;    /* groups may have gone */
    struct hg_generation *kept; /* what a roll-back goes to */
    uint64_t kept_until_ms;
    _Atomic uint64_t number, since_ms, retired;
#define X(name) _Atomic uint64_t name;
    HG_RELOAD_COUNTERS(X)
#undef X
};

static int aside_start(struct aside *aside, struct hg_node *node, struct hg_generation *generation,
                       void *(*run)(void *))
{
    pthread_attr_t attr;
    aside->node = node;
    aside->generation = generation;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int rc = pthread_create(&aside->thread, &attr, run, aside);
    pthread_attr_destroy(&attr);
    aside->is_running = rc == 0;
    return hg_err_from_errno(rc);
}

/* ---- build ---- */

static int serve(struct hg_node *node, struct hg_generation *generation)
{
    int err = hg_generation_publish(node, generation);
    if (err < 0)
        return err;
    atomic_store(&node->reload->number, generation->number);
    atomic_store(&node->reload->since_ms, generation->since_ms);
    node->reload->has_to_drop = true;
    return HG_OK;
}

static void *run_build(void *arg)
{
    struct aside *build = arg;
    struct hg_node *node = build->node;
    struct hg_reload *reload = node->reload;
    struct hg_generation *next = build->generation, *now = atomic_load(&node->generation);
    struct hg_vm_config vm = hg_node_vm_config(node->options);
    char *refused = NULL;

    int err = hg_generation_load(next, &vm, &reload->error);
    if (err == HG_OK && (next->settings = hg_difference_settings(next->control_vm,
                                                                 &next->settings_len)) == NULL)
        err = HG_ENOMEM;
    if (err == HG_OK)
        err = hg_difference(next->control_vm, hg_bytes(now->settings, now->settings_len), &refused,
                            &reload->changes);
    if (refused != NULL) {
        struct hg_buf text;
        size_t len;
        hg_buf_init(&text, SIZE_MAX);
        if (hg_buf_printf(&text, "%s: %s; restart the node", node->options->file, refused) ==
                HG_OK &&
            hg_buf_append_char(&text, '\0') == HG_OK)
            reload->error = hg_buf_take(&text, &len);
        hg_buf_finish(&text);
        hg_free(refused);
    }
    if (err == HG_OK)
        err = hg_generation_make(node, node->options, now, next, &reload->error);
    if (err < 0)
        hg_generation_clear(node, next);
    reload->err = err;
    hg_loop_post(&node->control, &build->done);
    return NULL;
}

static void on_answer(struct hg_mail *mail)
{
    struct hg_reload_ask *ask = hg_container_of(mail, struct hg_reload_ask, mail);
    ask->done(ask);
}

static void answer(struct hg_reload_ask *ask, int status, const char *text)
{
    ask->status = status;
    if (text != NULL)
        hg_buf_append_str(&ask->body, text);
    ask->mail.deliver = on_answer;
    hg_loop_post(ask->home, &ask->mail);
}

static void answer_all(struct hg_reload *reload, int status, const char *text)
{
    struct hg_list *link;
    while ((link = hg_list_pop_front(&reload->asks)) != NULL)
        answer(hg_container_of(link, struct hg_reload_ask, link), status, text);
}

static void refuse(struct hg_reload *reload, int status, const char *why)
{
    atomic_fetch_add(&reload->refused, 1);
    hg_log(HG_LOG_ERROR, "reload refused, the configuration stays as it was err=%s", why);
    answer_all(reload, status, why);
}

/* {"generation":2,"took_ms":31,"changes":["...",...]} */
static int format_changes(const struct hg_reload *reload, const struct hg_generation *generation,
                          uint64_t took_ms, struct hg_buf *body)
{
    int err = hg_buf_printf(body, "{\"generation\":%llu,\"took_ms\":%llu,\"changes\":[",
                            (unsigned long long)generation->number, (unsigned long long)took_ms);
    bool is_first = true;
    for (const char *at = reload->changes; err == HG_OK && at != NULL && *at != '\0';) {
        size_t len = strcspn(at, "\n");
        if (!is_first)
            err = hg_buf_append_char(body, ',');
        if (err == HG_OK)
            err = hg_json_string(body, hg_bytes(at, len));
        is_first = false;
        at += len + (at[len] == '\n');
    }
    return err == HG_OK ? hg_buf_append_str(body, "]}\n") : err;
}

static void log_changes(const struct hg_reload *reload)
{
    size_t count = 0;
    for (const char *at = reload->changes; at != NULL && *at != '\0'; count++) {
        size_t len = strcspn(at, "\n");
        if (count == CHANGES_LOGGED) {
            hg_log(HG_LOG_INFO, "reload change there are more");
            return;
        }
        hg_log(HG_LOG_INFO, "reload change %.*s", (int)(len < 1000 ? len : 1000), at);
        at += len + (at[len] == '\n');
    }
}

/* It serves: who asked is told what has changed. */
static void tell(struct hg_reload *reload, const struct hg_generation *generation)
{
    uint64_t took_ms = hg_clock_boot_ms() - reload->started_ms;
    struct hg_buf body;
    hg_buf_init(&body, BODY_MAX);
    int err = format_changes(reload, generation, took_ms, &body);
    if (err == HG_OK)
        err = hg_buf_append_char(&body, '\0');
    atomic_fetch_add(&reload->done, 1);
    hg_log(HG_LOG_INFO, "reload done generation=%llu took_ms=%llu",
           (unsigned long long)generation->number, (unsigned long long)took_ms);
    log_changes(reload);
    answer_all(reload, 200, err == HG_OK ? body.data : "{\"changes\":null}\n");
    hg_buf_finish(&body);
}

static void keep(struct hg_reload *reload, struct hg_generation *before,
                 const struct hg_config *config)
{
    if (config->reload_window_ms == 0) {
        if (reload->kept != NULL)
            reload->kept->is_kept = false;
        reload->kept = NULL;
        return;
    }
    if (reload->kept == NULL) { /* else nobody knows yet whether `before` is any good */
        reload->kept = before;
        before->is_kept = true;
    }
    reload->kept_until_ms = hg_time_add(hg_clock_boot_ms(), config->reload_window_ms);
}

static void on_built(struct hg_mail *mail)
{
    struct aside *build = hg_container_of(mail, struct aside, done);
    struct hg_node *node = build->node;
    struct hg_reload *reload = node->reload;
    struct hg_generation *next = build->generation, *before = atomic_load(&node->generation);
    int err = reload->err;

    pthread_join(build->thread, NULL);
    build->is_running = false;
    build->generation = NULL;
    if (reload->wanted_ms != 0) /* its wait begins here */
        reload->wanted_ms = hg_clock_boot_ms();
    if (err < 0)
        atomic_store(&next->state, HG_GENERATION_CLOSING); /* its guards are still to go */
    else
        next->retired_ms = hg_clock_boot_ms(); /* unless it comes to serve */
    if (err < 0) {
        refuse(reload, err == HG_EINVAL ? 422 : 503,
               reload->error != NULL ? reload->error : hg_err_text(err));
    } else if (atomic_load(&node->phase) != HG_NODE_SERVING) {
        refuse(reload, 503, "the node is draining");
    } else if (serve(node, next) < 0) {
        refuse(reload, 503, hg_err_text(HG_ENOMEM));
    } else {
        for (size_t i = 0; hg_vm_warning(next->control_vm, i) != NULL; i++)
            hg_log(HG_LOG_WARN, "%s", hg_vm_warning(next->control_vm, i));
        keep(reload, before, next->config);
        tell(reload, next);
    }
    hg_free(reload->error);
    hg_free(reload->changes);
    reload->error = reload->changes = NULL;
}

static struct hg_generation *find_place(struct hg_node *node)
{
    for (size_t i = 0; i < HG_GENERATIONS_MAX; i++)
        if (atomic_load(&node->generations[i].state) == HG_GENERATION_EMPTY)
            return &node->generations[i];
    return NULL;
}

static void begin(struct hg_node *node)
{
    struct hg_reload *reload = node->reload;
    struct hg_generation *place = find_place(node);
    uint64_t now_ms = hg_clock_boot_ms();
    if (atomic_load(&node->phase) != HG_NODE_SERVING) {
        reload->wanted_ms = 0;
        refuse(reload, 503, "the node is draining");
        return;
    }
    /* A group that is still to be dropped may be in the way of one of its name. */
    if (reload->wanted_ms == 0)
        reload->wanted_ms = now_ms;
    if ((reload->has_to_drop || place == NULL) && now_ms < reload->wanted_ms + WAIT_MS)
        return;
    reload->wanted_ms = 0;
    if (reload->has_to_drop || place == NULL) {
        refuse(reload, 503,
               place == NULL
                   ? "too many earlier configurations are still at work, try again later"
                   : "a worker still answers with an earlier configuration, try again later");
        return;
    }
    reload->started_ms = now_ms;
    place->is_kept = false;
    place->wants_evicted = place->wants_hot = place->asks_origins = false;
    int err = aside_start(&reload->build, node, place, run_build);
    if (err < 0)
        refuse(reload, 503, hg_err_text(err));
}

static void on_ask(struct hg_mail *mail)
{
    struct hg_reload_ask *ask = hg_container_of(mail, struct hg_reload_ask, mail);
    struct hg_reload *reload = ask->node->reload;
    if (reload->build.is_running || !hg_list_is_empty(&reload->asks)) {
        answer(ask, 409, "a reload is under way");
        return;
    }
    hg_list_push_back(&reload->asks, &ask->link);
    begin(ask->node);
}

void hg_reload_ask(struct hg_reload_ask *ask)
{
    hg_buf_init(&ask->body, BODY_MAX);
    ask->home = hg_loop_current();
    ask->mail.deliver = on_ask;
    hg_loop_post(&ask->node->control, &ask->mail);
}

void hg_reload_by_signal(struct hg_node *node)
{
    if (node->reload->build.is_running)
        node->reload->wanted_ms = hg_clock_boot_ms(); /* what is being read may be older than the signal */
    else
        begin(node);
}

/* ---- roll back ---- */

static double share(struct hg_runtime *runtime, const struct hg_group *group, uint64_t *out_failed)
{
    uint64_t ended;
    hg_runtime_loads(runtime, group, &ended, out_failed);
    return ended == 0 ? 0 : (double)*out_failed / (double)ended;
}

static uint64_t failures_needed(const struct hg_group *group)
{
    unsigned opens = hg_group_config(group)->guard->config.breaker_failures;
    return opens > 0 && opens < GUARD_FAILED ? opens : GUARD_FAILED;
}

/* The group whose getter fails too much since the reload; NULL: none. */
static const struct hg_group *find_failing(const struct hg_generation *now,
                                           const struct hg_generation *kept, double *out_share)
{
    for (size_t i = 0; i < now->group_count; i++) {
        const struct hg_group *group = now->group_list[i];
        uint64_t failed, failed_before;
        if (group == NULL)
            continue;
        *out_share = share(now->runtime, group, &failed);
        if (failed >= failures_needed(group) && *out_share > now->config->reload_errors &&
            *out_share > share(kept->runtime, group, &failed_before))
            return group;
    }
    return NULL;
}

static void watch(struct hg_node *node, uint64_t now_ms)
{
    struct hg_reload *reload = node->reload;
    struct hg_generation *kept = reload->kept, *now = atomic_load(&node->generation);
    double errors;
    if (kept == NULL || reload->build.is_running || atomic_load(&node->phase) != HG_NODE_SERVING)
        return;
    const struct hg_group *group = find_failing(now, kept, &errors);
    if (group != NULL && serve(node, kept) == HG_OK) {
        atomic_fetch_add(&reload->rolled_back, 1);
        hg_log(HG_LOG_ERROR,
               "reload rolled back generation=%llu group=%s errors=%.3f limit=%.3f: the "
               "configuration before it serves as generation=%llu",
               (unsigned long long)now->number, hg_group_name(group), errors,
               now->config->reload_errors, (unsigned long long)kept->number);
    } else if (now_ms < reload->kept_until_ms) {
        return;
    }
    kept->is_kept = false;
    reload->kept = NULL;
}

/* ---- what is no longer needed ---- */

static bool is_in(const struct hg_generation *generation, size_t index)
{
    return index < generation->group_count && generation->group_list[index] != NULL;
}

/* Once no front answers with an earlier generation, whose routes may have them. */
static void drop_groups(struct hg_node *node)
{
    const struct hg_generation *now = atomic_load(&node->generation);
    for (size_t i = 0; i < HG_GENERATIONS_MAX; i++)
        if (&node->generations[i] != now && atomic_load(&node->generations[i].fronts) > 0)
            return;
    for (size_t i = 0; i < hg_groups_count(node->groups); i++) {
        struct hg_group *group = hg_groups_at(node->groups, i);
        if (group == NULL || is_in(now, i))
            continue;
        struct hg_retired_row *row = hg_retired_row_create();
        if (row == NULL)
            return; /* the next time */
        hg_groups_drop(node->groups, group);
        hg_retired_add_group(&node->retired, row, group);
    }
    node->reload->has_to_drop = false;
}

static void *run_clear(void *arg)
{
    struct aside *clear = arg;
    hg_generation_clear(clear->node, clear->generation);
    hg_loop_post(&clear->node->control, &clear->done);
    return NULL;
}

static bool is_over(struct hg_node *node, struct hg_generation *generation, uint64_t now_ms)
{
    if (atomic_load(&generation->state) != HG_GENERATION_LIVE ||
        generation == atomic_load(&node->generation) || generation->is_kept ||
        generation == node->reload->build.generation || atomic_load(&generation->holders) > 0)
        return false;
    /* What scripts do of their own accord may go on for ever. */
    return hg_runtime_is_idle(generation->runtime) ||
           (hg_runtime_running(generation->runtime) == 0 &&
            now_ms >= hg_time_add(generation->retired_ms, generation->config->drain_timeout_ms));
}

static void clear_one(struct hg_node *node, uint64_t now_ms)
{
    struct aside *clear = &node->reload->clear;
    struct hg_generation *next = clear->generation; /* closed, and there was no thread for it */
    if (clear->is_running)
        return;
    for (size_t i = 0; i < HG_GENERATIONS_MAX && next == NULL; i++) {
        struct hg_generation *generation = &node->generations[i];
        if (is_over(node, generation, now_ms) && hg_node_scripts_close(node, generation))
            next = generation;
    }
    if (next != NULL)
        aside_start(clear, node, next, run_clear); /* fails: the next time */
}

static bool is_shared(const struct hg_node *node, const struct hg_generation *generation,
                      const struct hg_guard *guard)
{
    for (size_t i = 0; i < HG_GENERATIONS_MAX; i++) {
        const struct hg_generation *other = &node->generations[i];
        for (size_t k = 0; other != generation && k < other->guard_count; k++)
            if (other->guards[k] == guard)
                return true;
    }
    return false;
}

/* A cleared generation's guards, those that no other one has, and its place is free. */
static void empty(struct hg_node *node, struct hg_generation *generation)
{
    while (generation->guard_count > 0) {
        struct hg_guard *guard = generation->guards[generation->guard_count - 1];
        if (!is_shared(node, generation, guard)) {
            struct hg_retired_row *row = hg_retired_row_create();
            if (row == NULL)
                return; /* the next time */
            hg_retired_add_guard(&node->retired, row, guard);
        }
        generation->guard_count--;
    }
    hg_free(generation->guards);
    generation->guards = NULL;
    atomic_store(&generation->state, HG_GENERATION_EMPTY);
}

static void tidy(struct hg_node *node)
{
    struct hg_reload *reload = node->reload;
    clear_one(node, hg_clock_boot_ms());
    for (size_t i = 0; i < HG_GENERATIONS_MAX && !reload->build.is_running; i++) {
        struct hg_generation *generation = &node->generations[i];
        if (atomic_load(&generation->state) == HG_GENERATION_CLOSING &&
            reload->clear.generation != generation)
            empty(node, generation);
    }
}

static void on_cleared(struct hg_mail *mail)
{
    struct aside *clear = hg_container_of(mail, struct aside, done);
    pthread_join(clear->thread, NULL);
    clear->is_running = false;
    clear->generation = NULL;
    tidy(clear->node);
}

void hg_reload_tick(struct hg_node *node)
{
    struct hg_reload *reload = node->reload;
    uint64_t now_ms = hg_clock_boot_ms();
    watch(node, now_ms);
    if (reload->has_to_drop)
        drop_groups(node);
    tidy(node);
    if (reload->wanted_ms != 0 && !reload->build.is_running)
        begin(node);
    hg_retired_tick(&node->retired, !reload->build.is_running);
    atomic_store(&reload->retired, hg_retired_count(&node->retired));
}

bool hg_reload_is_running(const struct hg_node *node)
{
    const struct hg_reload *reload = node->reload;
    return reload->wanted_ms != 0 || reload->build.is_running || reload->clear.is_running;
}

void hg_reload_stats(struct hg_node *node, struct hg_reload_stats *out_stats)
{
    const struct hg_reload *reload = node->reload;
    *out_stats = (struct hg_reload_stats){.generation = atomic_load(&reload->number),
                                          .since_ms = atomic_load(&reload->since_ms),
                                          .retired = atomic_load(&reload->retired)};
    for (size_t i = 0; i < HG_GENERATIONS_MAX; i++)
        out_stats->generations +=
            atomic_load(&node->generations[i].state) != HG_GENERATION_EMPTY;
#define X(name) out_stats->name = atomic_load(&reload->name);
    HG_RELOAD_COUNTERS(X)
#undef X
}

int hg_reload_init(struct hg_node *node)
{
    struct hg_reload *reload = hg_calloc(1, sizeof(*reload));
    if (reload == NULL)
        return HG_ENOMEM;
    reload->build.done.deliver = on_built;
    reload->clear.done.deliver = on_cleared;
    hg_list_init(&reload->asks);
    atomic_store(&reload->number, 1);
    atomic_store(&reload->since_ms, hg_clock_boot_ms());
    node->reload = reload;
    return HG_OK;
}

void hg_reload_finish(struct hg_node *node)
{
    hg_generations_clear(node);
    hg_retired_finish(&node->retired);
    hg_free(node->reload);
    node->reload = NULL;
}
