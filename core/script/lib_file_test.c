#include "script/script_world.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* A folder to be read from, `root`, with a secret beside it. */
struct place {
    char folder[64];
    char config[96];
    struct hg_vm *vm;
};

static void put(const struct place *place, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", place->folder, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static void link_to(const struct place *place, const char *target, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", place->folder, name);
    assert_int_equal(symlink(target, path), 0);
}

static void make_folder(const struct place *place, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", place->folder, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void open_place(struct place *place)
{
    char path[128];

    snprintf(place->folder, sizeof(place->folder), "/tmp/hgcache-file-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    make_folder(place, "root");
    make_folder(place, "root/deep");
    make_folder(place, "root/deep/er");
    make_folder(place, "beside");
    put(place, "secret", "secret");
    put(place, "beside/secret", "secret");
    put(place, "root/page", "page");
    put(place, "root/empty", "");
    put(place, "root/deep/er/file", "deep");
    link_to(place, "page", "root/alias");
    link_to(place, "deep/er", "root/short");
    link_to(place, "../secret", "root/up");
    link_to(place, "../beside", "root/beside");
    link_to(place, "../../../secret", "root/deep/er/up");
    link_to(place, "loop", "root/loop");
    snprintf(path, sizeof(path), "%s/secret", place->folder);
    link_to(place, path, "root/absolute");
    link_to(place, "/", "root/slash");
    link_to(place, "/proc/self/root", "root/magic");
    snprintf(path, sizeof(path), "%s/root/pipe", place->folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    put(place, "config.lua", "return {}");
    snprintf(place->config, sizeof(place->config), "%s/config.lua", place->folder);
    struct hg_vm_config config = {.file = place->config, .memory_bytes = 16 << 20};
    assert_int_equal(hg_vm_create(&config, &place->vm), HG_OK);
}

static void close_place(struct place *place)
{
    char command[128];
    hg_vm_destroy(place->vm);
    snprintf(command, sizeof(command), "rm -rf %s", place->folder);
    assert_int_equal(system(command), 0);
}

struct reading {
    const struct place *place;
    const char *path, *known, *root; /* NULL: the place's */
    double max;
    char text[256]; /* what came, or "same", "none", or the code */
    char version[128];
    size_t len;
};

static int run(lua_State *L)
{
    struct reading *reading = lua_touserdata(L, 1);
    char root[96];

    if (reading->root != NULL)
        snprintf(root, sizeof(root), "%s", reading->root);
    else
        snprintf(root, sizeof(root), "%s/root", reading->place->folder);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hgcache.core");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "read_file");
    lua_pushstring(L, root);
    lua_pushstring(L, reading->path);
    lua_pushnumber(L, reading->max);
    lua_pushstring(L, reading->known);
    lua_call(L, 4, 3);
    if (lua_isboolean(L, -3))
        snprintf(reading->text, sizeof(reading->text), "%s",
                 lua_toboolean(L, -3) ? "same" : "none");
    else
        snprintf(reading->text, sizeof(reading->text), "%s",
                 lua_isnil(L, -3) ? lua_tostring(L, -1) : lua_tostring(L, -3));
    snprintf(reading->version, sizeof(reading->version), "%s",
             lua_isnil(L, -3) || lua_isboolean(L, -3) || lua_isnil(L, -2) ? ""
                                                                          : lua_tostring(L, -2));
    reading->len = lua_isstring(L, -3) ? lua_objlen(L, -3) : 0;
    return 0;
}

static struct reading read_at(const struct place *place, const char *path, const char *known,
                              double max)
{
    struct reading reading = {.place = place, .path = path, .known = known, .max = max};
    assert_int_equal(hg_vm_enter(place->vm, run, &reading), 0);
    return reading;
}

static void assert_read(const struct place *place, const char *path, const char *wanted)
{
    struct reading reading = read_at(place, path, NULL, 100);
    if (strcmp(reading.text, wanted) != 0)
        fail_msg("%s: expected %s, found %s", path, wanted, reading.text);
}

static void assert_nothing_outside(const struct place *place)
{
    static const char *const paths[] = {
        "up",
        "beside/secret",
        "deep/er/up",
        "absolute",
        "slash/etc/passwd",
        "magic/etc/passwd",
        "loop",
        "../secret",
        "deep/../../secret",
        "/etc/passwd",
        "..",
        "",
        "deep",
        "deep/er",
        "pipe",
        "page/x",
        "none",
        "none/none",
        "deep//er/file/x",
        "short/up",
    };
    for (size_t i = 0; i < HG_COUNT(paths); i++)
        assert_read(place, paths[i], "none");
}

static void test_only_files_below_the_folder(void **state)
{
    struct place place;
    (void)state;
    open_place(&place);
    assert_read(&place, "page", "page");
    assert_read(&place, "empty", "");
    assert_read(&place, "deep/er/file", "deep");
    assert_read(&place, "alias", "page"); /* links that stay inside are followed */
    assert_read(&place, "short/file", "deep");
    assert_nothing_outside(&place);
    close_place(&place);
}

static void test_size_and_version(void **state)
{
    struct place place;
    (void)state;
    open_place(&place);
    assert_string_equal(read_at(&place, "page", NULL, 4).text, "page");
    assert_string_equal(read_at(&place, "page", NULL, 3).text, "too_large");
    struct reading first = read_at(&place, "page", NULL, 100);
    assert_true(strlen(first.version) > 10);
    assert_string_equal(read_at(&place, "page", first.version, 100).text, "same");
    assert_string_equal(read_at(&place, "empty", first.version, 100).text, "");
    put(&place, "root/page", "other");
    struct reading second = read_at(&place, "page", first.version, 100);
    assert_string_equal(second.text, "other");
    assert_string_not_equal(second.version, first.version);
    close_place(&place);
}

/* Files of the kernel say that they are empty, and are not. */
static void test_file_is_read_to_its_end_whatever_its_size(void **state)
{
    struct place place;
    char text[8192];
    (void)state;
    open_place(&place);
    FILE *in = fopen("/proc/filesystems", "r");
    assert_non_null(in);
    size_t len = fread(text, 1, sizeof(text), in);
    fclose(in);
    assert_true(len > 100 && len < sizeof(text));
    double maxes[] = {(double)len + 1000, (double)len, (double)len - 1, 0};
    for (size_t i = 0; i < HG_COUNT(maxes); i++) {
        struct reading reading = {
            .place = &place, .root = "/proc", .path = "filesystems", .max = maxes[i]};
        assert_int_equal(hg_vm_enter(place.vm, run, &reading), 0);
        if (i < 2) {
            assert_int_equal(reading.len, len);
            assert_memory_equal(reading.text, text, sizeof(reading.text) - 1);
            assert_string_equal(reading.version, ""); /* so it is read again next time */
        } else {
            assert_string_equal(reading.text, "too_large");
        }
    }
    close_place(&place);
}

static void test_folder_that_is_away_is_trouble_and_no_answer(void **state)
{
    struct place place;
    char command[256];
    (void)state;
    open_place(&place);
    snprintf(command, sizeof(command), "mv %s/root %s/away", place.folder, place.folder);
    assert_int_equal(system(command), 0);
    assert_read(&place, "page", "unavailable");
    close_place(&place);
}

/* From here on this process has no openat2. */
static void forbid_openat2(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {HG_COUNT(filter), filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(77);
}

static void test_without_openat2_no_link_is_followed(void **state)
{
    struct place place;
    int status;
    (void)state;
    open_place(&place);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        forbid_openat2();
        bool is_well = strcmp(read_at(&place, "page", NULL, 100).text, "page") == 0 &&
                       strcmp(read_at(&place, "deep/er/file", NULL, 100).text, "deep") == 0 &&
                       strcmp(read_at(&place, "alias", NULL, 100).text, "none") == 0 &&
                       strcmp(read_at(&place, "short/file", NULL, 100).text, "none") == 0;
        assert_nothing_outside(&place);
        _exit(is_well ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        print_message("skipped: no seccomp here\n");
    else
        assert_int_equal(WEXITSTATUS(status), 0);
    close_place(&place);
}

static void test_each_allocation_may_fail(void **state)
{
    struct place place;
    bool was_refused = true;
    (void)state;
    open_place(&place);
    read_at(&place, "page", NULL, 100);
    for (unsigned n = 0; was_refused; n++) {
        struct reading reading = {
            .place = &place, .root = "/proc", .path = "filesystems", .max = 1e6};
        hg_alloc_fail_at(n, false);
        int rc = hg_vm_enter(place.vm, run, &reading);
        was_refused = hg_alloc_fail_clear();
        if (rc == 0 && !was_refused)
            assert_true(reading.len > 100);
        assert_true(n < 1000);
    }
    close_place(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_files_below_the_folder),
        cmocka_unit_test(test_size_and_version),
        cmocka_unit_test(test_file_is_read_to_its_end_whatever_its_size),
        cmocka_unit_test(test_folder_that_is_away_is_trouble_and_no_answer),
        cmocka_unit_test(test_without_openat2_no_link_is_followed),
        cmocka_unit_test(test_each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
