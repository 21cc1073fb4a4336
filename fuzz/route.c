/* Routes: lines of patterns, an empty line, lines of paths. Whatever matches has captured parts of the very path. */
#include "fuzz.h"
#include "wire/query.h"
#include "wire/route.h"

static bool lies_in(struct hg_bytes part, struct hg_bytes whole)
{
    return part.len == 0 ||
           (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static void match(const struct hg_routes *routes, struct hg_bytes line)
{
    char *copy = fuzz_copy(line);
    struct hg_bytes path = hg_bytes(copy, line.len);
    struct hg_route_match found;

    for (int method = 0; method < HG_METHOD_COUNT; method++) {
        int err = hg_routes_match(routes, (enum hg_method)method, path, &found);
        must(err == HG_OK || err == HG_EPROTO);
        must(err == HG_OK || !hg_percent_is_valid(path));
        if (err < 0 || found.target == NULL)
            continue;
        must(found.params.count <= HG_COUNT(found.params.values));
        for (size_t i = 0; i < found.params.count; i++)
            must(lies_in(found.params.values[i], path));
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t live = hg_alloc_live_count();
    struct hg_bytes rest = hg_bytes(data, size), line;
    struct hg_routes *routes = NULL;
    char error[256], text[96];
    unsigned count = 0;

    must(hg_routes_create(&routes) == HG_OK);
    while (rest.len > 0 && (line = fuzz_line(&rest)).len > 0 && count++ < 64) {
        char *pattern = fuzz_copy(line);
        struct hg_bytes names[16];
        error[0] = '\0';
        int err = hg_routes_add(routes, hg_bytes(pattern, line.len), routes, error, sizeof(error));
        must(err == HG_OK || error[0] != '\0');
        if (err == HG_OK)
            must(hg_route_param_names(hg_bytes(pattern, line.len), names) <= 16);
        free(pattern);
    }
    for (count = 0; rest.len > 0 && count < 64; count++)
        match(routes, fuzz_line(&rest));
    hg_methods_format(size > 0 ? data[0] : 0, text, sizeof(text));
    hg_routes_destroy(routes);
    must(hg_alloc_live_count() == live);
    return 0;
}
