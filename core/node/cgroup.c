#include "node/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_SPACE 4096

static uint64_t read_limit(const char *path)
{
    char text[64] = "";
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return UINT64_MAX;
    bool has_line = fgets(text, sizeof(text), file) != NULL;
    fclose(file);
    char *end;
    unsigned long long limit = strtoull(text, &end, 10);
    return !has_line || end == text ? UINT64_MAX : limit; /* "max" is none */
}

/* From the group upwards: a parent's limit holds for its children. */
static uint64_t least_on_the_way(const char *base, char *group, const char *file)
{
    uint64_t least = UINT64_MAX;
    for (;;) {
        char path[PATH_SPACE];
        if (snprintf(path, sizeof(path), "%s%s/%s", base, group, file) < (int)sizeof(path)) {
            uint64_t limit = read_limit(path);
            if (limit < least)
                least = limit;
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

uint64_t hg_cgroup_memory_limit(const char *membership, const char *root)
{
    char line[PATH_SPACE], base[PATH_SPACE];
    uint64_t least = UINT64_MAX;
    FILE *file = fopen(membership, "re");
    if (file == NULL)
        return least;
    while (fgets(line, sizeof(line), file) != NULL) {
        /* number:controllers:/path; version 2 is "0::/path" */
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL)
            continue;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        uint64_t limit = UINT64_MAX;
        if (controllers[1] == '\0') {
            limit = least_on_the_way(root, group, "memory.max");
        } else if (strstr(controllers, "memory") != NULL &&
                   snprintf(base, sizeof(base), "%s/memory", root) < (int)sizeof(base)) {
            limit = least_on_the_way(base, group, "memory.limit_in_bytes");
        }
        if (limit < least)
            least = limit;
    }
    fclose(file);
    return least;
}
