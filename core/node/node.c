/*
 * Start and stop, in this order:
 *
 *   control VM (the chunk runs, the schema checks) -> config -> addresses bound -> groups, ring, peers -> script
 *   threads (each runs the chunk; data must agree) -> workers -> listeners -> serving
 *
 * Addresses are bound before any thread starts, so that a port in use starts nothing.
 */
#include "node/node.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/hash.h"
#include "net/clock.h"
#include "node/cgroup.h"
#include "node/difference.h"
#include "node/node_impl.h"
#include "wire/peer_many.h"

#define EXIT_FAILED 1
#define EXIT_CONFIG 2
#define BACKLOG     4096
#define CHANGE_EXTRA                                                                               \
    (64u << 10)        /* group, type, etag, meta, tags: what a Change has beside key and value */
#define FD_RESERVE 128 /* descriptors for all that is not a client */

static void say(const char *what)
{
    fprintf(stderr, "hgcache: %s\n", what);
}

static int say_failure(char *error, int err)
{
    say(error != NULL ? error : hg_err_text(err));
    hg_free(error);
    return err;
}

unsigned hg_node_cpu_count(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > 256 ? 256 : (unsigned)count;
}

static int add_address(struct hg_node *node, const char *text, unsigned role)
{
    if (text == NULL)
        return HG_OK;
    for (size_t i = 0; i < node->listener_count; i++) {
        if (strcmp(node->listeners[i].address.text, text) == 0) {
            node->listeners[i].roles |= role;
            return HG_OK;
        }
    }
    char error[256] = "";
    struct hg_node_listener *listener = &node->listeners[node->listener_count];
    int err = hg_address_parse(hg_bytes_str(text), &listener->address, error, sizeof(error));
    if (err == HG_EINVAL)
        err = HG_EADDR; /* the schema let its form through: it is the world that does not know it */
    if (err == HG_OK)
        err = hg_address_listen(&listener->address, BACKLOG, &listener->fd, error, sizeof(error));
    if (err < 0) {
        say(error[0] != 0 ? error : hg_err_text(err));
        return err;
    }
    listener->roles = role;
    node->listener_count++;
    return HG_OK;
}

static int bind_addresses(struct hg_node *node)
{
    int err = add_address(node, node->config->listen_peer, HG_ROLE_PEER);
    if (err == HG_OK)
        err = add_address(node, node->config->listen_api, HG_ROLE_API);
    if (err == HG_OK)
        err = add_address(node, node->config->listen_admin, HG_ROLE_ADMIN);
    return err;
}

/* Descriptors for that many connections: the soft limit is raised, or the number lowered with a warning. */
static void fit_descriptors(struct hg_node *node)
{
    struct rlimit limit;
    node->connections_max = node->config->limits.connections;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t wanted = (rlim_t)node->connections_max + FD_RESERVE;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < wanted) {
        size_t fits = limit.rlim_cur > 2 * FD_RESERVE ? (size_t)limit.rlim_cur - FD_RESERVE
                                                      : (size_t)limit.rlim_cur / 2;
        hg_log(HG_LOG_WARN, "limits.connections lowered to %zu: only %llu descriptors are allowed",
               fits, (unsigned long long)limit.rlim_cur);
        node->connections_max = fits;
    }
}

/* What the groups may hold together against what the kernel allows this process. */
static void warn_of_memory(const struct hg_node *node)
{
    uint64_t limit = hg_cgroup_memory_limit("/proc/self/cgroup", "/sys/fs/cgroup"), sum = 0;
    for (size_t i = 0; i < node->config->group_count; i++)
        sum += node->config->groups[i].group.capacity_bytes;
    if (sum > limit)
        hg_log(HG_LOG_WARN,
               "the groups' capacities are %llu bytes, but this process is limited to %llu: it "
               "will be killed before they are full",
               (unsigned long long)sum, (unsigned long long)limit);
}

/*
 * The largest bodies from another node are the Change of a set (POST ?changes), with the value in it, and Asks (POST ?many).
 * Clients are held to limits.body by hg_node_request.
 */
static size_t body_max(const struct hg_config *config)
{
    size_t peer_max = config->limits.value + config->limits.key + CHANGE_EXTRA;
    if (peer_max < HG_MANY_BYTES_MAX)
        peer_max = HG_MANY_BYTES_MAX;
    return config->has_cluster && peer_max > config->limits.body ? peer_max : config->limits.body;
}

static void set_limits(struct hg_node *node)
{
    const struct hg_config *config = node->config;
    node->server_limits = (struct hg_server_limits){
        .http1 = {.line = 8 << 10,
                  .head = config->limits.headers,
                  .fields = (unsigned)config->limits.fields,
                  .body = body_max(config),
                  .chunk_extension = 1 << 10},
        .pipeline = (unsigned)config->limits.pipeline,
        .streams = (unsigned)config->limits.streams,
        .message = config->limits.peer_message,
        .out_bytes = 1 << 20,
        .header_timeout_ms = config->limits.header_timeout_ms,
        .idle_timeout_ms = config->limits.idle_timeout_ms,
        .write_timeout_ms = config->limits.write_timeout_ms,
        .pinned_max = 64u << 20,
    };
}

static int open_listeners(struct hg_node *node)
{
    for (size_t i = 0; i < node->listener_count; i++) {
        struct hg_node_listener *listener = &node->listeners[i];
        int err = hg_listener_open(&node->control, listener->fd, listener->roles, hg_node_on_accept,
                                   node, &listener->listener);
        if (err < 0)
            return err;
        listener->fd = -1;
        hg_log(HG_LOG_INFO, "listening address=%s peer=%d api=%d admin=%d", listener->address.text,
               (listener->roles & HG_ROLE_PEER) != 0, (listener->roles & HG_ROLE_API) != 0,
               (listener->roles & HG_ROLE_ADMIN) != 0);
    }
    return HG_OK;
}

/* Everything up to serving. A negative result ends the process. */
static int start(struct hg_node *node, struct hg_generation *first)
{
    const struct hg_config *config = node->config;
    node->name = hg_bytes_str(config->name);
    node->worker_count = config->workers == 0 ? hg_node_cpu_count() : config->workers;
    node->started_ms = hg_clock_boot_ms();
    set_limits(node);
    int err = bind_addresses(node);
    if (err < 0)
        return err;
    err = hg_log_init(STDERR_FILENO, config->log_level, config->log_format);
    if (err < 0)
        return err;
    for (size_t i = 0; hg_vm_warning(first->control_vm, i) != NULL; i++)
        hg_log(HG_LOG_WARN, "%s", hg_vm_warning(first->control_vm, i));
    fit_descriptors(node);
    warn_of_memory(node);
    err = hg_node_source_init(node);
    if (err < 0)
        return err;
    err = hg_node_scripts_init(node);
    if (err < 0)
        return err;
    node->workers = hg_calloc(node->worker_count, sizeof(*node->workers));
    if (node->workers == NULL)
        return HG_ENOMEM;
    err = hg_loop_init(&node->control, "control");
    if (err < 0)
        return err;
    node->control.on_list = hg_node_deliver;
    char *why = NULL;
    first->settings = hg_difference_settings(first->control_vm, &first->settings_len);
    if (first->settings == NULL)
        return HG_ENOMEM;
    err = hg_generation_make(node, node->options, NULL, first, &why);
    if (err < 0)
        return say_failure(why, err);
    if (err == HG_OK)
        err = hg_reload_init(node);
    if (err == HG_OK)
        err = hg_generation_publish(node, first);
    if (err == HG_OK)
        err = hg_front_init(&node->admin, node, &node->control);
    if (err == HG_OK)
        err = hg_drain_init(node);
    if (err == HG_OK)
        err = hg_workers_start(node);
    if (err == HG_OK) {
        atomic_store(&node->phase, HG_NODE_SERVING);
        err = open_listeners(node);
    }
    return err;
}

static void release(struct hg_node *node)
{
    hg_workers_stop(node);
    hg_generations_stop(node);
    for (unsigned i = 0; i < node->workers_started; i++) {
        hg_loop_finish(&node->workers[i].loop);
        hg_front_finish(&node->workers[i].front);
    }
    hg_loop_finish(&node->control);
    hg_front_finish(&node->admin);
    hg_free(node->workers);
    hg_reload_finish(node);
    hg_node_source_finish(node);
    hg_node_scripts_finish(node);
}

static void set_process(void)
{
    uint64_t seed[2];
    signal(SIGPIPE, SIG_IGN);
#ifndef HG_SANITIZED           /* the leak checker attaches to its own process */
    prctl(PR_SET_DUMPABLE, 0); /* no core dump with other people's values in it */
#endif
    hg_random_bytes(seed, sizeof(seed));
    hg_hash_seed(seed[0], seed[1]);
}

int hg_node_run(const struct hg_node_options *options)
{
    struct hg_node *node = hg_calloc(1, sizeof(*node));
    if (node == NULL) {
        say("out of memory");
        return EXIT_FAILED;
    }
    set_process();
    int exit_code = EXIT_CONFIG;
    char *error = NULL;
    struct hg_generation *first = &node->generations[0];
    struct hg_vm_config vm = hg_node_vm_config(options);
    node->options = options;
    int err = hg_generation_load(first, &vm, &error);
    node->config = first->config;
    if (err == HG_OK) {
        err = start(node, first);
        if (err < 0) {
            hg_log_finish();
            /* Threads may be running: leave without undoing. */
            fflush(NULL);
            _exit(err == HG_EINVAL ? EXIT_CONFIG : EXIT_FAILED);
        }
        hg_log(HG_LOG_INFO, "node ready name=%s version=%s workers=%u", node->config->name,
               HG_VERSION, node->worker_count);
        hg_runtime_serve(first->runtime);
        hg_loop_run(&node->control);
        release(node);
        exit_code = 0;
        hg_log_finish();
    } else {
        say_failure(error, err);
        hg_vm_destroy(first->control_vm);
    }
    hg_config_destroy(node->config);
    hg_free(node);
    return exit_code;
}
