/* For the tests of this floor: a node's groups without a source that works, with values put by hand. */
#ifndef HG_CLUSTER_TEST_GROUPS_H
#define HG_CLUSTER_TEST_GROUPS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "cluster/changes.h"
#include "wire/peer_message.h"

#define TEST_LEASE_MS 2000

struct test_node {
    struct hg_source source;
    struct hg_groups *groups;
    struct hg_group *group;
    struct hg_changes *changes;
};

static int test_refuse(void *ctx, struct hg_load *load)
{
    (void)ctx;
    (void)load;
    return HG_ECANCELED;
}

static uint64_t test_random(void *ctx)
{
    (void)ctx;
    return 4;
}

static void test_node_start(struct test_node *node, uint64_t boot, size_t kept)
{
    const struct hg_groups_config limits = {.key_max = 1024,
                                            .value_max = 1 << 20,
                                            .flights_max = 16,
                                            .waiters_max = 16,
                                            .lease_ms = TEST_LEASE_MS,
                                            .shards = 2};
    const struct hg_group_config config = {
        .name = "g", .capacity_bytes = 1 << 20, .ttl_ms = HG_FOREVER, .deadline_ms = 1000};
    node->source =
        (struct hg_source){.load = test_refuse, .ask = test_refuse, .random = test_random};
    assert_int_equal(hg_groups_create(&limits, &node->source, &node->groups), HG_OK);
    assert_int_equal(hg_groups_add(node->groups, &config, &node->group), HG_OK);
    assert_int_equal(hg_changes_create(node->groups, boot, kept, &node->changes), HG_OK);
}

static void test_node_stop(struct test_node *node)
{
    hg_changes_destroy(node->changes);
    hg_groups_destroy(node->groups);
}

static void test_put(struct test_node *node, const char *key, const char *tag, uint64_t now_ms)
{
    struct hg_bytes tags[1] = {hg_bytes_str(tag == NULL ? "" : tag)};
    struct hg_value_spec spec = {.status = HG_STATUS_VALUE,
                                 .key = hg_bytes_str(key),
                                 .data = HG_BYTES("v"),
                                 .tags = tags,
                                 .tag_count = tag == NULL ? 0 : 1};
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    assert_int_equal(hg_group_set(node->group, value, now_ms), HG_OK);
    hg_value_unref(value);
}

static bool test_has(struct test_node *node, const char *key, uint64_t now_ms)
{
    static struct hg_hold hold;
    struct hg_result result;
    struct hg_get get = {.key = hg_bytes_str(key), .now_ms = now_ms, .is_peek = true};
    bool is_there = hg_group_get(node->group, &get, NULL, &result, &hold) == HG_OK;
    hg_hold_release(&hold);
    return is_there;
}

static struct hg_peer_change test_change(uint64_t origin, uint64_t sequence, enum hg_change_op op,
                                         const char *name)
{
    return (struct hg_peer_change){.origin = origin,
                                   .sequence = sequence,
                                   .op = op,
                                   .group = HG_BYTES("g"),
                                   .name = hg_bytes_str(name)};
}

static int test_apply(struct test_node *node, const struct hg_peer_change *change, bool is_pulled)
{
    bool was_there = false;
    return hg_changes_apply(node->changes, change, is_pulled, 1000, &was_there);
}

#endif
