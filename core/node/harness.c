#include "node/harness.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/alloc.h"
#include "net/clock.h"
#include "node/node_impl.h"
#include "script/pack.h"

#define LOOPS_MAX    64
#define CALL_MAX     ((size_t)256 << 20) /* bytes that pass between a spec and its node at a time */
#define LOG_MAX      (1u << 20)
#define RESPONSE_MAX ((size_t)1 << 30)
/* How often new timers may be due at one moment; a script that never lets time pass is moved on by 1 ms. */
#define ROUNDS_MAX 100
/* Passes over all loops without work after which nothing moves: what a pass sets up is seen by the next one. */
#define QUIET_PASSES 2

struct hg_harness {
    struct hg_vm_fakes fakes;
    struct hg_node node;
    struct hg_bytes *members; /* of a cluster whose members are found */
    struct hg_harness_spec spec;
    struct hg_loop *loops[LOOPS_MAX];
    size_t loop_count;
    bool has_worker;
    uint64_t now_ms, wall_ms;
    bool is_running;
    struct hg_harness *outer; /* borrowed: which runs, and whose fake uses this one; or NULL */
    lua_Integer call;         /* number of the call that is awaited */
    bool is_done, is_lost, log_is_full;
    unsigned closing;
    struct hg_buf question, answer, result, log, log_taken;
};

/* Whose log lines come. */
static struct hg_harness *logging;

static void on_log(enum hg_log_level level, struct hg_bytes message)
{
    static const char *const names[] = {"debug ", "info ", "warn ", "error "};
    static const char full[] = "warn the log is full: lines are left out until it is looked at\n";
    if (logging == NULL || logging->log_is_full)
        return;
    if (logging->log.len + message.len + 8 + sizeof(full) > LOG_MAX) {
        logging->log_is_full = true;
        hg_buf_append_str(&logging->log, full);
        return;
    }
    hg_buf_append_str(&logging->log, names[level]);
    hg_buf_append_bytes(&logging->log, message);
    hg_buf_append_char(&logging->log, '\n');
}

static void set_clocks(const struct hg_harness *harness)
{
    hg_clock_hold(harness->now_ms, harness->wall_ms);
}

static void go_on_to(struct hg_harness *harness, uint64_t now_ms)
{
    if (now_ms > harness->now_ms) {
        harness->wall_ms += now_ms - harness->now_ms;
        harness->now_ms = now_ms;
    }
    set_clocks(harness);
}

static struct hg_runtime *runtime_of(const struct hg_harness *harness)
{
    return harness->node.generations[0].runtime;
}

/* Turns the loops until nothing moves, without time. */
static void settle(struct hg_harness *harness)
{
    unsigned quiet = 0;
    while (quiet < QUIET_PASSES) {
        bool is_busy = hg_runtime_dispatch(runtime_of(harness));
        for (size_t i = 0; i < harness->loop_count; i++) {
            is_busy |= hg_loop_has_work(harness->loops[i]);
            hg_loop_turn(harness->loops[i]);
        }
        quiet = is_busy ? 0 : quiet + 1;
    }
}

/* The loop whose timer is due first, among equals the first loop's. */
static struct hg_loop *next_loop(struct hg_harness *harness, uint64_t *out_due_ms)
{
    struct hg_loop *next = harness->loops[0];
    for (size_t i = 1; i < harness->loop_count; i++) {
        if (hg_loop_due(harness->loops[i]) < hg_loop_due(next))
            next = harness->loops[i];
    }
    *out_due_ms = hg_loop_due(next);
    return next;
}

static size_t count_due(const struct hg_harness *harness)
{
    size_t count = 0;
    for (size_t i = 0; i < harness->loop_count; i++)
        count += hg_loop_due_count(harness->loops[i]);
    return count;
}

/* All that happens at this moment. */
static void settle_timers(struct hg_harness *harness)
{
    settle(harness);
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        size_t left = count_due(harness);
        if (left == 0)
            return;
        for (; left > 0; left--) {
            uint64_t due_ms;
            hg_loop_ring(next_loop(harness, &due_ms));
            settle(harness);
        }
    }
    if (count_due(harness) > 0)
        go_on_to(harness, harness->now_ms + 1);
}

/* The moment of the first timer, and what happens then. False: there is none up to until_ms. */
static bool step(struct hg_harness *harness, uint64_t until_ms)
{
    uint64_t due_ms;
    next_loop(harness, &due_ms);
    if (due_ms == HG_FOREVER || due_ms > until_ms)
        return false;
    go_on_to(harness, due_ms);
    settle_timers(harness);
    return true;
}

/* What is the process's and each node has its own of: clocks and log. */
static void take_over(struct hg_harness *harness)
{
    const struct hg_config *config = harness->node.config;
    logging = harness;
    hg_log_divert(on_log, config != NULL ? config->log_level : HG_LOG_INFO);
    set_clocks(harness);
}

static int enter(struct hg_harness *harness)
{
    if (harness->is_running)
        return HG_ELIMIT;
    harness->is_running = true;
    harness->outer = logging;
    take_over(harness);
    return HG_OK;
}

static void leave(struct hg_harness *harness)
{
    harness->is_running = false;
    logging = NULL;
    if (harness->outer != NULL)
        take_over(harness->outer);
}

bool hg_harness_is_running(const struct hg_harness *harness)
{
    return harness->is_running;
}

/* Of the script: what the spec is asked, or "done", a call's number and its results. */
static int on_fake(struct hg_vm_fakes *fakes, lua_State *L)
{
    struct hg_harness *harness = hg_container_of(fakes, struct hg_harness, fakes);
    bool is_done = strcmp(luaL_checkstring(L, 1), "done") == 0;
    struct hg_buf *buf = is_done ? &harness->result : &harness->question;
    const char *kind = NULL;
    char error[1024] = "out of memory";

    if (is_done && (luaL_checkinteger(L, 2) != harness->call || harness->is_done))
        return 0; /* nobody waits for it any more */
    hg_buf_clear(buf);
    int err = hg_pack(L, is_done ? 3 : 1, buf, &kind);
    if (err == HG_EINVAL)
        snprintf(error, sizeof(error), "a %s cannot pass between a node and its spec", kind);
    harness->is_done |= is_done && err == HG_OK;
    if (!is_done && err == HG_OK) {
        hg_buf_clear(&harness->answer);
        err = harness->spec.ask(harness->spec.ctx, hg_buf_bytes(buf), &harness->answer, error,
                                sizeof(error));
    }
    if (err < 0) {
        lua_pushstring(L, error);
        return lua_error(L);
    }
    return is_done ? 0 : hg_unpack(L, hg_buf_bytes(&harness->answer));
}

static void on_runs(struct hg_vm_fakes *fakes, const char *group, struct hg_bytes key, bool is_next)
{
    struct hg_harness *harness = hg_container_of(fakes, struct hg_harness, fakes);
    harness->spec.runs(harness->spec.ctx, group, key, is_next);
}

struct ask_mail {
    struct hg_mail mail;
    struct hg_harness *harness;
    struct hg_load *load;
};

/* On the worker, as a peer's answer comes. */
static void on_ask(struct hg_mail *mail)
{
    struct ask_mail *ask = hg_container_of(mail, struct ask_mail, mail);
    struct hg_harness *harness = ask->harness;
    struct hg_load *load = ask->load;
    struct hg_harness_peer peer = {.status = HG_STATUS_VALUE, .ttl_ms = HG_FOREVER};
    struct hg_ask_answer answer = {.outcome = HG_ASK_TYPED, .sent_ms = harness->now_ms};

    hg_free(ask);
    hg_buf_init(&peer.data, harness->node.config->limits.value);
    harness->spec.peer(harness->spec.ctx, hg_ring_member(load->view->ring, load->member),
                       hg_group_name(load->group), load->flight.key, &peer);
    struct hg_value_spec spec = {
        .status = peer.status,
        .klass = peer.klass,
        .key = load->flight.key,
        .data = hg_buf_bytes(&peer.data),
    };
    answer.ttl_ms = peer.ttl_ms;
    answer.result = peer.is_down ? NULL : hg_value_create(&spec);
    if (answer.result == NULL)
        answer.outcome = HG_ASK_TRANSPORT;
    hg_buf_finish(&peer.data);
    hg_load_asked(load, &answer, harness->now_ms, &harness->node.workers[0].loop);
}

static int source_ask(void *ctx, struct hg_load *load)
{
    struct hg_node *node = ctx;
    struct ask_mail *ask = hg_malloc(sizeof(*ask));
    if (ask == NULL)
        return HG_ENOMEM;
    *ask = (struct ask_mail){.mail = {.deliver = on_ask},
                             .harness = hg_container_of(node, struct hg_harness, node),
                             .load = load};
    hg_loop_post(&node->workers[0].loop, &ask->mail);
    return HG_OK;
}

/* Lives are whole ones. */
static uint64_t source_random(void *ctx)
{
    (void)ctx;
    return 0;
}

static int start_worker(struct hg_harness *harness)
{
    struct hg_node *node = &harness->node;
    node->server_limits = (struct hg_server_limits){
        .http1 = {.line = 8 << 10,
                  .head = node->config->limits.headers,
                  .fields = (unsigned)node->config->limits.fields,
                  .body = node->config->limits.body,
                  .chunk_extension = 1 << 10},
        .pipeline = 1,
    };
    node->workers = hg_calloc(1, sizeof(*node->workers));
    if (node->workers == NULL)
        return HG_ENOMEM;
    struct hg_worker *worker = &node->workers[0];
    int err = hg_loop_init(&worker->loop, "worker-0");
    if (err < 0)
        return err;
    harness->has_worker = true;
    worker->loop.on_list = hg_node_deliver;
    worker->loop.user = worker;
    return hg_front_init(&worker->front, node, &worker->loop);
}

/* Nobody finds anything here. */
static int find_members(struct hg_harness *harness)
{
    struct hg_config *config = harness->node.config;
    const struct hg_harness_spec *spec = &harness->spec;
    if (!config->has_cluster || config->discovery == NULL)
        return HG_OK;
    struct hg_bytes self = hg_bytes_str(config->self);
    size_t count = 0;
    harness->members = hg_calloc(spec->found_count + 1, sizeof(*harness->members));
    if (harness->members == NULL)
        return HG_ENOMEM;
    harness->members[count++] = self;
    for (size_t i = 0; i < spec->found_count; i++) {
        if (!hg_bytes_eq(spec->found[i], self))
            harness->members[count++] = spec->found[i];
    }
    config->discovery = NULL;
    config->peers = (struct hg_strings){harness->members, count};
    return HG_OK;
}

static void fit_config(struct hg_harness *harness)
{
    struct hg_config *config = harness->node.config;
    config->has_cluster = config->has_cluster && harness->spec.peer != NULL;
    /* Compiled loops count no instructions, so nothing would end them. */
    config->script_jit = false;
    for (size_t i = 0; i < config->pool_count; i++)
        config->pools[i].threads = 1;
    for (size_t i = 0; i < config->group_count; i++) {
        config->groups[i].group.ttl_jitter = 0;
        config->groups[i].group.early_refresh = 0;
    }
}

static int start(struct hg_harness *harness, const struct hg_node_options *options, char *error,
                 size_t error_size, char **out_error)
{
    struct hg_node *node = &harness->node;
    struct hg_vm_config config = {.file = options->file,
                                  .args = options->args,
                                  .memory_bytes = 128u << 20,
                                  .is_control = true,
                                  .fakes = &harness->fakes};
    struct hg_generation *first = &node->generations[0];
    int err = hg_generation_load(first, &config, out_error);
    node->config = first->config;
    if (err < 0)
        return err;
    take_over(harness); /* with its level of the log */
    for (size_t i = 0; hg_vm_warning(first->control_vm, i) != NULL; i++)
        hg_log(HG_LOG_WARN, "%s", hg_vm_warning(first->control_vm, i));
    fit_config(harness);
    if (node->config->pool_count >= LOOPS_MAX) {
        snprintf(error, error_size, "more than %d pools", LOOPS_MAX - 1);
        return HG_EINVAL;
    }
    node->name = hg_bytes_str(node->config->name);
    node->started_ms = harness->now_ms;
    node->connections_max = 1;
    node->worker_count = 1;
    if ((err = find_members(harness)) < 0 || (err = hg_node_source_init(node)) < 0)
        return err;
    node->source.ask = source_ask;
    node->source.random = source_random;
    if ((err = hg_node_scripts_init(node)) < 0 ||
        (err = hg_generation_make(node, options, NULL, first, out_error)) < 0 ||
        (err = hg_generation_publish(node, first)) < 0 || (err = start_worker(harness)) < 0)
        return err;
    harness->loops[0] = &node->workers[0].loop;
    harness->loop_count = 1 + hg_runtime_loops(first->runtime, harness->loops + 1, LOOPS_MAX - 1);
    atomic_store(&node->phase, HG_NODE_SERVING);
    hg_runtime_serve(first->runtime);
    settle_timers(harness);
    return HG_OK;
}

int hg_harness_create(const struct hg_node_options *options, uint64_t time_ms,
                      const struct hg_harness_spec *spec, struct hg_harness **out_harness,
                      char **out_error)
{
    char error[256] = "";
    struct hg_harness *harness = hg_calloc(1, sizeof(*harness));
    *out_error = NULL;
    if (harness == NULL)
        return HG_ENOMEM;
    harness->fakes = (struct hg_vm_fakes){.call = on_fake, .runs = on_runs};
    harness->spec = *spec;
    harness->node.fakes = &harness->fakes;
    harness->now_ms = HG_CLOCK_START_MS;
    harness->wall_ms = time_ms;
    hg_buf_init(&harness->question, CALL_MAX);
    hg_buf_init(&harness->answer, CALL_MAX);
    hg_buf_init(&harness->result, CALL_MAX);
    hg_buf_init(&harness->log, LOG_MAX);
    hg_buf_init(&harness->log_taken, LOG_MAX);
    enter(harness);
    int err = start(harness, options, error, sizeof(error), out_error);
    leave(harness);
    if (err < 0) {
        if (*out_error == NULL)
            *out_error = hg_strndup(error, strlen(error));
        hg_harness_destroy(harness);
        return err;
    }
    *out_harness = harness;
    return HG_OK;
}

static void on_server_closed(void *ctx)
{
    ((struct hg_harness *)ctx)->closing = 0;
}

static void stop_worker(struct hg_harness *harness)
{
    struct hg_worker *worker = &harness->node.workers[0];
    if (worker->front.server != NULL) {
        harness->closing = 1;
        hg_server_close(worker->front.server, on_server_closed, harness);
        worker->front.server = NULL;
        while (harness->closing > 0)
            hg_loop_turn(&worker->loop);
    }
}

void hg_harness_destroy(struct hg_harness *harness)
{
    if (harness == NULL)
        return;
    struct hg_node *node = &harness->node;
    /* A collection may do this at any moment of a spec or of a fake. */
    uint64_t boot_ms = hg_clock_boot_ms(), wall_ms = (uint64_t)(hg_clock_wall_s() * 1000 + 0.5);
    assert(!harness->is_running);
    enter(harness);
    if (harness->has_worker)
        stop_worker(harness);
    hg_generations_stop(node);
    if (harness->has_worker) {
        hg_loop_finish(&node->workers[0].loop);
        hg_front_finish(&node->workers[0].front);
    }
    hg_free(node->workers);
    hg_reload_finish(node);
    hg_node_source_finish(node);
    hg_node_scripts_finish(node);
    hg_config_destroy(node->config);
    leave(harness);
    hg_clock_hold(boot_ms, wall_ms);
    hg_buf_finish(&harness->question);
    hg_buf_finish(&harness->answer);
    hg_buf_finish(&harness->result);
    hg_buf_finish(&harness->log);
    hg_buf_finish(&harness->log_taken);
    hg_free(harness->members);
    hg_free(harness);
}

struct begin {
    struct hg_harness *harness;
    struct hg_bytes arguments;
};

/* Instead of what stands on the stack: hgcache.fakes[name], and the number of the call.   [-*, +2, e] */
static void push_agent(lua_State *L, const char *name, const struct hg_harness *harness)
{
    lua_settop(L, 0);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hgcache.fakes");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, name);
    lua_replace(L, 1);
    lua_pushinteger(L, harness->call);
}

/* begin(number, what, ...) makes a task of it. */
static int begin_call(lua_State *L)
{
    struct begin *begin = lua_touserdata(L, 1);
    push_agent(L, "begin", begin->harness);
    int count = hg_unpack(L, begin->arguments);
    lua_call(L, 1 + count, 0);
    return 0;
}

/* is_alive(number): false once a task of the call ended without a result, by its own fault or with its Lua state. */
static int look_for_call(lua_State *L)
{
    struct hg_harness *harness = lua_touserdata(L, 1);
    push_agent(L, "is_alive", harness);
    lua_call(L, 1, 1);
    harness->is_lost = !lua_toboolean(L, -1);
    return 0;
}

int hg_harness_call(struct hg_harness *harness, struct hg_bytes arguments,
                    struct hg_bytes *out_results)
{
    int err = enter(harness);
    if (err < 0)
        return err;
    struct begin begin = {.harness = harness, .arguments = arguments};
    harness->call++;
    harness->is_done = false;
    err = hg_runtime_enter(runtime_of(harness), begin_call, &begin);
    if (err == HG_OK)
        settle_timers(harness);
    while (err == HG_OK && !harness->is_done) {
        harness->is_lost = true;
        hg_runtime_enter(runtime_of(harness), look_for_call, harness);
        if (harness->is_lost)
            err = HG_ECANCELED;
        else if (!step(harness, HG_FOREVER))
            err = HG_ETIMEDOUT;
    }
    *out_results = hg_buf_bytes(&harness->result);
    leave(harness);
    return err;
}

/* Sends what the socket takes and reads what is there. HG_PENDING, HG_OK at the end of the answer. */
static int exchange(int fd, struct hg_bytes *request, struct hg_buf *response)
{
    char piece[16384];
    while (request->len > 0) {
        ssize_t sent = send(fd, request->data, request->len, MSG_NOSIGNAL);
        if (sent < 0)
            break; /* full, or it is answered already */
        *request = hg_bytes(request->data + sent, request->len - (size_t)sent);
    }
    for (;;) {
        ssize_t got = recv(fd, piece, sizeof(piece), 0);
        if (got < 0)
            return errno == EAGAIN ? HG_PENDING : HG_OK;
        if (got == 0)
            return HG_OK;
        int err = hg_buf_append(response, piece, (size_t)got);
        if (err < 0)
            return err;
    }
}

int hg_harness_request(struct hg_harness *harness, struct hg_bytes request, struct hg_buf *response)
{
    struct hg_node *node = &harness->node;
    int fds[2], rc = HG_PENDING;
    int err = enter(harness);
    if (err < 0)
        return err;
    /* No network: the two ends of a socket within this process. */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
        leave(harness);
        return hg_err_from_errno(errno);
    }
    atomic_fetch_add(&node->connections, 1);
    err = hg_server_adopt(node->workers[0].front.server, fds[0], HG_ROLE_API);
    while (err == HG_OK && rc == HG_PENDING) {
        struct hg_bytes before = request;
        size_t had = response->len;
        settle_timers(harness);
        rc = exchange(fds[1], &request, response);
        bool has_moved = request.len < before.len || response->len > had;
        if (rc == HG_PENDING && !has_moved && !step(harness, HG_FOREVER))
            err = HG_ETIMEDOUT;
    }
    close(fds[1]);
    settle_timers(harness);
    leave(harness);
    return err < 0 ? err : rc;
}

int hg_harness_advance(struct hg_harness *harness, uint64_t ms)
{
    int err = enter(harness);
    if (err < 0)
        return err;
    uint64_t until_ms = hg_time_add(harness->now_ms, ms);
    settle_timers(harness);
    while (step(harness, until_ms))
        ;
    go_on_to(harness, until_ms);
    for (size_t i = 0; i < hg_groups_count(harness->node.groups); i++) {
        struct hg_group *group = hg_groups_at(harness->node.groups, i);
        if (group != NULL)
            hg_group_expire_step(group, harness->now_ms, SIZE_MAX);
    }
    settle_timers(harness);
    leave(harness);
    return HG_OK;
}

uint64_t hg_harness_now(const struct hg_harness *harness)
{
    return harness->wall_ms;
}

struct hg_bytes hg_harness_take_log(struct hg_harness *harness)
{
    struct hg_buf taken = harness->log_taken;
    harness->log_taken = harness->log;
    harness->log = taken;
    hg_buf_clear(&harness->log);
    harness->log_is_full = false;
    return hg_buf_bytes(&harness->log_taken);
}

struct hg_bytes hg_harness_log(const struct hg_harness *harness)
{
    return hg_buf_bytes(&harness->log);
}
