/*
 * What lua/hgcache/source_file.lua is made of: core.read_file, which reads a file below a folder and nothing outside of it,
 * whatever the name says and whatever links there are. It blocks its script thread.
 */
#include "script/vm_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "base/alloc.h"

/* A file is opened to be read, not to be waited for, should it be a pipe. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

#define ROOM_MIN 255 /* where the size says less */

struct contents {
    char *data;
    size_t len;
    char version[80];
};

/* Where the kernel is older than openat2, or forbids it: step by step, and no link at all. */
static int open_by_steps(int folder, const char *path)
{
    char name[NAME_MAX + 1];
    int at = fcntl(folder, F_DUPFD_CLOEXEC, 0);

    for (;;) {
        size_t len = strcspn(path, "/");
        bool is_last = path[len] == '\0';
        if (len >= sizeof(name)) {
            close(at);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(name, path, len);
        name[len] = '\0';
        if (strcmp(name, "..") == 0 || len == 0) {
            close(at);
            errno = EXDEV;
            return -1;
        }
        int next = openat(at, name,
                          (is_last ? OPEN_FLAGS : O_PATH | O_DIRECTORY | O_CLOEXEC) | O_NOFOLLOW);
        int error = errno;
        close(at);
        errno = error;
        if (next < 0 || is_last)
            return next;
        at = next;
        path += len + 1;
    }
}

static int open_below(const char *root, const char *path)
{
    struct open_how how = {.flags = OPEN_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (folder < 0)
        return -1;
    int fd = (int)syscall(SYS_openat2, folder, path, &how, sizeof(how));
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = open_by_steps(folder, path);
    int error = errno;
    close(folder);
    errno = error;
    return fd;
}

/* More room, for max bytes and one more at most. False: no memory, or it has that already. */
static bool grow(struct contents *out, size_t *room, size_t max)
{
    size_t wanted = *room < max / 2 ? 2 * *room : max + 1;
    char *data = wanted > *room ? hg_realloc(out->data, wanted) : NULL;

    if (data == NULL)
        return false;
    out->data = data;
    *room = wanted;
    return true;
}

/*
 * Up to max bytes, and one more where there are more. 0 or errno. The size is where to begin: a file may grow meanwhile, and those of
 * the kernel have none.
 */
static int read_all(int fd, size_t size, size_t max, struct contents *out)
{
    size_t first = size < ROOM_MIN ? ROOM_MIN : size;
    size_t room = (first < max ? first : max) + 1;

    out->data = hg_malloc(room);
    if (out->data == NULL)
        return ENOMEM;
    while (out->len <= max) {
        if (out->len == room && !grow(out, &room, max))
            return ENOMEM;
        ssize_t count = read(fd, out->data + out->len, room - out->len);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return errno;
        if (count == 0)
            break;
        out->len += (size_t)count;
    }
    return 0;
}

enum { READ_OK, READ_SAME, READ_TOO_LARGE, READ_FAILED };

static int read_below(const char *root, const char *path, size_t max, const char *known,
                      struct contents *out)
{
    struct stat stat;
    int fd = open_below(root, path);

    if (fd < 0)
        return READ_FAILED;
    int error = fstat(fd, &stat) != 0 ? errno : S_ISREG(stat.st_mode) ? 0 : EISDIR;
    snprintf(out->version, sizeof(out->version), "%lld.%09ld %lld %llu",
             (long long)stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec, (long long)stat.st_size,
             (unsigned long long)stat.st_ino);
    bool is_same = error == 0 && known != NULL && strcmp(known, out->version) == 0;
    if (error == 0 && !is_same)
        error = read_all(fd, (size_t)stat.st_size, max, out);
    close(fd);
    errno = error;
    if (error != 0)
        return READ_FAILED;
    if (!is_same && out->len != (size_t)stat.st_size)
        out->version[0] = '\0'; /* it says nothing of what was read */
    return is_same ? READ_SAME : out->len > max ? READ_TOO_LARGE : READ_OK;
}

static int push_contents(lua_State *L)
{
    const struct contents *contents = lua_touserdata(L, 1);
    lua_pushlstring(L, contents->data, contents->len);
    lua_pushstring(L, contents->version[0] != '\0' ? contents->version : NULL);
    return 2;
}

/* That there is no such file, which is an answer. */
static bool is_missing(int error)
{
    return error == ENOENT || error == ENOTDIR || error == EISDIR || error == EACCES ||
           error == ELOOP || error == EXDEV || error == ENAMETOOLONG || error == ENXIO;
}

/*
 * read_file(root, path, max, known version or nil) -> text, version or nil: there is none | true: it has that version
 * | false: no such file | nil, message, code     [-4, +1|+2|+3, v]
 */
static int l_read_file(lua_State *L)
{
    size_t len;
    const char *root = luaL_checkstring(L, 1), *path = luaL_checklstring(L, 2, &len);
    double max = luaL_checknumber(L, 3);
    const char *known = luaL_optstring(L, 4, NULL);
    struct contents contents = {0};

    luaL_argcheck(L, max >= 0 && max <= 9e15, 3, "expected bytes");
    lua_settop(L, 4);
    lua_pushcfunction(L, push_contents);
    lua_pushlightuserdata(L, &contents);
    if (strlen(path) != len) {
        lua_pushboolean(L, false);
        return 1;
    }
    int rc = read_below(root, path, (size_t)max, known, &contents);
    int error = errno;
    if (rc == READ_OK) {
        int status = hg_vm_pcall(L, 1, 2);
        hg_free(contents.data);
        return status == 0 ? 2 : lua_error(L);
    }
    hg_free(contents.data);
    if (rc == READ_SAME || (rc == READ_FAILED && is_missing(error) && access(root, F_OK) == 0)) {
        lua_pushboolean(L, rc == READ_SAME);
        return 1;
    }
    lua_pushnil(L);
    if (rc == READ_TOO_LARGE)
        lua_pushfstring(L, "the file is larger than %f bytes", max);
    else
        lua_pushstring(L, strerror(error));
    lua_pushstring(L, rc == READ_TOO_LARGE ? "too_large" : "unavailable");
    return 3;
}

void hg_lib_file_open(lua_State *L)
{
    lua_pushcfunction(L, l_read_file);
    lua_setfield(L, -2, "read_file");
}
