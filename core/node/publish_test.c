#include "node/test_node.h"

/* What the file says now, made beside what serves. */
static struct hg_generation *make_next(struct hg_node *node)
{
    struct hg_generation *next = &node->generations[1];
    struct hg_vm_config vm = hg_node_vm_config(&test_options);
    char *error = NULL;
    assert_int_equal(hg_generation_load(next, &vm, &error), HG_OK);
    assert_int_equal(
        hg_generation_make(node, &test_options, atomic_load(&node->generation), next, &error),
        HG_OK);
    return next;
}

static struct hg_group *find(struct hg_node *node, const char *name)
{
    return hg_groups_find(node->groups, hg_bytes_str(name));
}

static void test_without_memory_nothing_has_changed(void **state)
{
    struct hg_node *node = start(GROUP("a", "10m") "," GROUP("b", "10m"));
    struct hg_generation *before = atomic_load(&node->generation);
    struct hg_group *a = find(node, "a");
    int err;

    (void)state;
    write_file(GROUP("a", "5m") "," GROUP("b", "5m") "," GROUP("c", "10m"));
    struct hg_generation *next = make_next(node);
    assert_null(find(node, "c"));
    size_t refused = 0;
    do {
        size_t live = hg_alloc_live_count();
        hg_alloc_fail_at(refused, false);
        err = hg_generation_publish(node, next);
        hg_alloc_fail_clear();
        if (err == HG_OK)
            break;
        assert_int_equal(err, HG_ENOMEM);
        assert_ptr_equal(atomic_load(&node->generation), before);
        assert_int_equal(hg_group_config(a)->ttl_ms, 10 * 60 * 1000);
        assert_null(find(node, "c"));
        assert_int_equal(hg_alloc_live_count(), live);
        refused++;
    } while (refused < 1000);
    assert_true(refused >= 5); /* the list, and two for each group that changes */
    assert_ptr_equal(atomic_load(&node->generation), next);
    assert_int_equal(next->number, 2);
    assert_ptr_equal(find(node, "a"), a);
    assert_int_equal(hg_group_config(a)->ttl_ms, 5 * 60 * 1000);
    assert_non_null(find(node, "c"));
    assert_int_equal(hg_retired_count(&node->retired), 2); /* two configurations that were */
    stop(node);
}

static void test_a_group_that_was_dropped_comes_back(void **state)
{
    struct hg_node *node = start(GROUP("a", "10m") "," GROUP("b", "10m"));
    struct hg_generation *before = atomic_load(&node->generation);
    struct hg_group *b = find(node, "b");

    (void)state;
    write_file(GROUP("a", "10m"));
    struct hg_generation *next = make_next(node);
    before->is_kept = true; /* as under node.reload_guard */
    assert_int_equal(hg_generation_publish(node, next), HG_OK);
    assert_ptr_equal(find(node, "b"), b); /* until no front answers with the one before */
    hg_groups_drop(node->groups, b);
    hg_retired_add_group(&node->retired, hg_retired_row_create(), b);
    assert_null(find(node, "b"));
    assert_int_equal(hg_generation_publish(node, before), HG_OK);
    assert_int_equal(before->number, 3);
    assert_ptr_equal(find(node, "b"), b);
    assert_false(hg_retired_take_group(&node->retired, b)); /* it is not freed any more */
    before->is_kept = false;
    turn_until(node, atomic_load(&next->state) == HG_GENERATION_EMPTY);
    assert_ptr_equal(find(node, "b"), b);
    stop(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_memory_nothing_has_changed),
        cmocka_unit_test(test_a_group_that_was_dropped_comes_back),
    };
    return cmocka_run_group_tests(tests, test_node_begin, test_node_end);
}
