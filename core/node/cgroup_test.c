#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "node/cgroup.h"

static char root[64];

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static uint64_t limit_of(const char *membership)
{
    char path[256];
    write_file("membership", membership);
    snprintf(path, sizeof(path), "%s/membership", root);
    return hg_cgroup_memory_limit(path, root);
}

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/hgcache-cgroup-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", root);
    return system(command);
}

static void test_the_least_limit_on_the_way_holds(void **state)
{
    (void)state;
    write_file("a/b/memory.max", "max\n");
    write_file("a/memory.max", "1000000\n");
    write_file("memory.max", "5000000\n");
    assert_int_equal(limit_of("0::/a/b\n"), 1000000);
    write_file("a/b/memory.max", "777\n");
    assert_int_equal(limit_of("0::/a/b\n"), 777);
}

static void test_version_1_is_read_too(void **state)
{
    (void)state;
    write_file("memory/docker/memory.limit_in_bytes", "4096\n");
    assert_int_equal(limit_of("5:cpu,cpuacct:/x\n4:memory:/docker\n"), 4096);
}

static void test_no_limit_is_no_limit(void **state)
{
    (void)state;
    write_file("memory.max", "max\n");
    assert_true(limit_of("0::/\n") == UINT64_MAX);
    assert_true(limit_of("rubbish\n") == UINT64_MAX);
    assert_true(hg_cgroup_memory_limit("/nonexistent", root) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_least_limit_on_the_way_holds, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(test_version_1_is_read_too, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_no_limit_is_no_limit, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
