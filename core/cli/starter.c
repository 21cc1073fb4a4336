#include "cli/starter.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096
/* In .luarc.json: where the annotations of the library are. */
#define TYPES_WORD "@TYPES@"

static int fail(const struct hg_cli_io *io, const char *path, const char *why)
{
    char space[256];
    fprintf(io->err, "hgcache: init: %s: %s\n",
            hg_bytes_escape(hg_bytes_str(path), space, sizeof(space)), why);
    return HG_EXIT_FAILED;
}

/* Names the first folder on the way that is not there. */
static int fail_missing(const struct hg_cli_io *io, const char *path)
{
    char parent[PATH_BYTES];
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
        if (access(parent, F_OK) != 0)
            return fail(io, parent, strerror(errno));
    }
    return fail(io, path, strerror(ENOENT));
}

/* A folder that is there already has to be empty. */
static int make_folder(const struct hg_cli_io *io, const char *path)
{
    if (mkdir(path, 0777) == 0)
        return HG_EXIT_DONE;
    if (errno == ENOENT)
        return fail_missing(io, path);
    DIR *folder = errno == EEXIST ? opendir(path) : NULL;
    if (folder == NULL)
        return fail(io, path, strerror(errno));
    bool is_empty = true;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        is_empty &= strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(folder);
    return is_empty ? HG_EXIT_DONE : fail(io, path, "the folder is not empty");
}

/* Beside the program: where it was installed, or where it was built. */
static void find_types(char *out, size_t size)
{
    static const char *const places[] = {"../share/hgcache/lua/hgcache/types",
                                         "../../lua/hgcache/types", NULL};
    char program[PATH_BYTES];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL)
        *slash = '\0';
    for (size_t i = 0; slash != NULL && places[i] != NULL; i++) {
        char path[PATH_BYTES + 64], real[PATH_BYTES];
        snprintf(path, sizeof(path), "%s/%s", program, places[i]);
        if (realpath(path, real) != NULL && strpbrk(real, "\"\\") == NULL) {
            snprintf(out, size, "%s", real);
            return;
        }
    }
    snprintf(out, size, "/usr/share/hgcache/lua/hgcache/types");
}

static bool write_text(FILE *out, const struct hg_starter_file *file)
{
    const char *word = memmem(file->text, file->len, TYPES_WORD, strlen(TYPES_WORD));
    char types[PATH_BYTES];
    if (word == NULL)
        return fwrite(file->text, 1, file->len, out) == file->len;
    size_t before = (size_t)(word - file->text), behind = before + strlen(TYPES_WORD);
    find_types(types, sizeof(types));
    return fwrite(file->text, 1, before, out) == before && fputs(types, out) >= 0 &&
           fwrite(file->text + behind, 1, file->len - behind, out) == file->len - behind;
}

static int write_file(const struct hg_cli_io *io, const char *folder,
                      const struct hg_starter_file *file)
{
    char path[PATH_BYTES];
    const char *slash = strchr(file->path, '/');
    if (slash != NULL) {
        snprintf(path, sizeof(path), "%s/%.*s", folder, (int)(slash - file->path), file->path);
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return fail(io, path, strerror(errno));
    }
    snprintf(path, sizeof(path), "%s/%s", folder, file->path);
    FILE *out = fopen(path, "wx");
    if (out == NULL)
        return fail(io, path, strerror(errno));
    bool is_written = write_text(out, file);
    if (fclose(out) != 0 || !is_written)
        return fail(io, path, strerror(errno));
    fprintf(io->out, "%s\n", path);
    return HG_EXIT_DONE;
}

/* As a word of a shell, and never as an option. */
static void print_word(FILE *out, const char *path)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./,:@%";
    const char *before = path[0] == '-' ? "./" : "";
    if (path[strspn(path, plain)] == '\0') {
        fprintf(out, "%s%s", before, path);
        return;
    }
    fprintf(out, "'%s", before);
    for (; *path != '\0'; path++)
        fprintf(out, *path == '\'' ? "'\\''" : "%c", *path);
    fputc('\'', out);
}

int hg_starter_init(const struct hg_args *args, const struct hg_cli_io *io)
{
    char folder[PATH_BYTES / 2 + 1];
    size_t len = strlen(args->words[0]);
    if (len == 0) {
        fputs("hgcache: init: expected a folder, found an empty name\n", io->err);
        return HG_EXIT_USAGE;
    }
    if (len >= sizeof(folder))
        return fail(io, args->words[0], "the name is too long");
    memcpy(folder, args->words[0], len + 1);
    while (len > 1 && folder[len - 1] == '/')
        folder[--len] = '\0';
    int code = make_folder(io, folder);
    for (size_t i = 0; hg_starter_files[i].path != NULL && code == HG_EXIT_DONE; i++)
        code = write_file(io, folder, &hg_starter_files[i]);
    if (code == HG_EXIT_DONE) {
        fputs("\ncd ", io->out);
        print_word(io->out, folder);
        fputs("\nhgcache test\nhgcache run config.lua\ncurl http://127.0.0.1:8791/items/apple\n",
              io->out);
    }
    return code;
}
