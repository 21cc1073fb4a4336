/*
 * test_node - for the tests of this floor: a node without workers and listeners, whose control loop the test turns.
 */
#ifndef HG_NODE_TEST_NODE_H
#define HG_NODE_TEST_NODE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "net/clock.h"
#include "node/difference.h"
#include "node/node.h"
#include "node/node_impl.h"

#define TEST_TURNS_MAX 100000 /* of 200 us */
#define GROUP(name, ttl) name " = { capacity = '1MiB', ttl = '" ttl "', getter = function(key) return key end }"

static char test_path[] = "/tmp/hgcache-node-XXXXXX";
static struct hg_node_options test_options = {.file = test_path};

static inline void test_on_log(enum hg_log_level level, struct hg_bytes message)
{
    (void)level, (void)message;
}

/* The configuration from the next loading on. */
static inline void write_file(const char *groups)
{
    FILE *out = fopen(test_path, "w");
    assert_non_null(out);
    fprintf(out,
            "require('hgcache').at_start(function() end) "
            "return { node = { workers = 1, scripts = 1, drain_timeout = 0 }, groups = { %s } }",
            groups);
    fclose(out);
}

static inline struct hg_node *start(const char *groups)
{
    struct hg_node *node = hg_calloc(1, sizeof(*node));
    struct hg_generation *first = &node->generations[0];
    struct hg_vm_config vm = hg_node_vm_config(&test_options);
    char *error = NULL;

    write_file(groups);
    node->options = &test_options;
    if (hg_generation_load(first, &vm, &error) < 0)
        fail_msg("%s", error);
    node->config = first->config;
    node->worker_count = 1;
    assert_int_equal(hg_node_source_init(node), HG_OK);
    assert_int_equal(hg_node_scripts_init(node), HG_OK);
    assert_int_equal(hg_loop_init(&node->control, "control"), HG_OK);
    node->control.on_list = hg_node_deliver;
    first->settings = hg_difference_settings(first->control_vm, &first->settings_len);
    assert_int_equal(hg_generation_make(node, &test_options, NULL, first, &error), HG_OK);
    assert_int_equal(hg_reload_init(node), HG_OK);
    assert_int_equal(hg_generation_publish(node, first), HG_OK);
    atomic_store(&node->phase, HG_NODE_SERVING);
    hg_runtime_serve(first->runtime);
    return node;
}

static inline void turn(struct hg_node *node)
{
    struct timespec pause = {.tv_nsec = 200000};
    hg_loop_turn(&node->control);
    hg_reload_tick(node);
    nanosleep(&pause, NULL);
}

#define turn_until(node, condition)                                                                \
    do {                                                                                           \
        for (unsigned turns = 0; !(condition); turns++) {                                          \
            if (turns == TEST_TURNS_MAX)                                                                 \
                fail_msg("waited in vain for: %s", #condition);                                    \
            turn(node);                                                                            \
        }                                                                                          \
    } while (0)

static inline void stop(struct hg_node *node)
{
    turn_until(node, !hg_reload_is_running(node));
    hg_generations_stop(node);
    hg_loop_finish(&node->control);
    hg_reload_finish(node);
    hg_node_source_finish(node);
    hg_node_scripts_finish(node);
    hg_config_destroy(node->config);
    hg_free(node);
}

/* Around all tests of a program. */
static inline int test_node_begin(void **state)
{
    (void)state;
    hg_log_divert(test_on_log, HG_LOG_ERROR);
    return close(mkstemp(test_path));
}

static inline int test_node_end(void **state)
{
    (void)state;
    return unlink(test_path);
}

#endif
