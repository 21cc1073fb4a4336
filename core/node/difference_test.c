#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "node/difference.h"

#define GROUP "test = { getter = function() end, ttl = \"10m\" }"

static struct hg_vm *load(const char *text)
{
    char path[] = "/tmp/hgcache-difference-XXXXXX", *error = NULL;
    struct hg_vm_config config = {.file = path, .memory_bytes = 64u << 20, .is_control = true};
    struct hg_vm *vm;
    int fd = mkstemp(path);
    FILE *out = fdopen(fd, "w");
    fprintf(out, "return { node = { workers = 2 }, %s }", text);
    fclose(out);
    assert_int_equal(hg_vm_create(&config, &vm), HG_OK);
    if (hg_vm_load(vm, &error) != HG_OK)
        fail_msg("%s", error);
    unlink(path);
    return vm;
}

/* HG_OK and the changes, HG_EINVAL and what is refused. */
static int compare(const char *before, const char *after, char **out_text)
{
    struct hg_vm *old = load(before), *new = load(after);
    char *refused = NULL, *changes = NULL;
    size_t len;
    char *settings = hg_difference_settings(old, &len);
    assert_non_null(settings);
    int err = hg_difference(new, hg_bytes(settings, len), &refused, &changes);
    assert_true((err == HG_OK) == (changes != NULL));
    assert_true((err == HG_EINVAL) == (refused != NULL));
    *out_text = err == HG_OK ? changes : refused;
    hg_free(settings);
    hg_vm_destroy(old);
    hg_vm_destroy(new);
    return err;
}

static void test_changes_are_lines(void **state)
{
    char *text;
    (void)state;
    assert_int_equal(compare("groups = { " GROUP " }", "groups = { " GROUP " }", &text), HG_OK);
    assert_string_equal(text, "");
    hg_free(text);
    assert_int_equal(
        compare("groups = { " GROUP " }",
                "groups = { test = { getter = function() end }, a = { getter = function() end } }",
                &text),
        HG_OK);
    assert_string_equal(text, "groups.a: added\ngroups.test.ttl: \"10m\" -> false");
    hg_free(text);
}

static void test_what_cannot_change_is_one_line(void **state)
{
    char *text;
    (void)state;
    assert_int_equal(
        compare("groups = { " GROUP " }",
                "groups = { test = { getter = function() end, policy = \"fifo\", shards = 2 } }",
                &text),
        HG_EINVAL);
    assert_string_equal(
        text, "groups.test.policy cannot change while the node runs, expected \"lru\" as before, "
              "found \"fifo\"; groups.test.shards cannot change while the node runs, expected "
              "\"auto\" as before, found 2");
    hg_free(text);
}

static void test_no_memory_is_an_error(void **state)
{
    struct hg_vm *vm = load("groups = { " GROUP " }");
    char *refused = NULL, *changes = NULL;
    size_t len;
    (void)state;
    char *settings = hg_difference_settings(vm, &len);
    int err = HG_ENOMEM;
    for (size_t n = 0; err == HG_ENOMEM; n++) {
        hg_alloc_fail_at(n, false);
        err = hg_difference(vm, hg_bytes(settings, len), &refused, &changes);
        hg_alloc_fail_clear();
    }
    assert_int_equal(err, HG_OK);
    assert_null(refused);
    hg_free(changes);
    hg_free(settings);
    hg_vm_destroy(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes_are_lines),
        cmocka_unit_test(test_what_cannot_change_is_one_line),
        cmocka_unit_test(test_no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
