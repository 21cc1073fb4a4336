#include "cli/replay.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"
#include "cache/store.h"
#include "cli/nearest.h"
#include "cli/table.h"
#include "cli/trace.h"

#define PROGRESS_EVERY 500000 /* requests */
#define POLICIES_MAX   32
#define SEED           1 /* two replays of a trace print the same */

struct run {
    const struct hg_policy_ops *policy;
    uint64_t size; /* objects or bytes */
    struct hg_budget budget;
    struct hg_store store;
    uint64_t hits, misses;
};

struct replay {
    bool in_objects;
    struct run runs[HG_REPLAY_RUNS_MAX];
    size_t run_count;
    uint64_t request_count;
    struct hg_trace trace;
};

/* ---- arguments ---- */

/* The next part of "a,b,c"; false at the end. */
static bool next_part(struct hg_bytes *rest, struct hg_bytes *out_part)
{
    if (rest->data == NULL)
        return false;
    const char *comma = rest->len == 0 ? NULL : memchr(rest->data, ',', rest->len);
    if (comma == NULL) {
        *out_part = *rest;
        *rest = HG_BYTES_NONE;
    } else {
        *out_part = hg_bytes(rest->data, (size_t)(comma - rest->data));
        *rest = hg_bytes(comma + 1, rest->len - out_part->len - 1);
    }
    return true;
}

static int fail_policy(const struct hg_cli_io *io, struct hg_bytes name)
{
    char shown[64], word[HG_NEAREST_MAX + 2];
    const char *known[POLICIES_MAX];
    size_t count = 0;
    while (hg_policy_at(count) != NULL && count < HG_COUNT(known)) {
        known[count] = hg_policy_at(count)->name;
        count++;
    }
    hg_bytes_escape(name, shown, sizeof shown);
    snprintf(word, sizeof word, "%.*s", (int)(name.len < sizeof word ? name.len : sizeof word - 1),
             name.len == 0 ? "" : name.data);
    const char *near = hg_nearest(word, known, count);
    fprintf(io->err, "hgcache: replay: --policy: unknown policy \"%s\"", shown);
    if (near != NULL)
        fprintf(io->err, ", did you mean \"%s\"?\n", near);
    else
        for (size_t i = 0; i < count; i++)
            fprintf(io->err, "%s%s%s",
                    i == 0          ? ", expected "
                    : i + 1 < count ? ", "
                                    : " or ",
                    known[i], i + 1 < count ? "" : "\n");
    return HG_EXIT_USAGE;
}

/* HG_EXIT_DONE and the list, all policies where the user named none. */
static int read_policies(const struct hg_args *args, const struct hg_cli_io *io,
                         const struct hg_policy_ops **out_list, size_t *out_count)
{
    *out_count = 0;
    if (args->policy == NULL) {
        while (*out_count < POLICIES_MAX && hg_policy_at(*out_count) != NULL) {
            out_list[*out_count] = hg_policy_at(*out_count);
            ++*out_count;
        }
        return HG_EXIT_DONE;
    }
    struct hg_bytes rest = hg_bytes_str(args->policy), part;
    while (next_part(&rest, &part)) {
        const struct hg_policy_ops *policy = hg_policy_find(part);
        if (policy == NULL)
            return fail_policy(io, part);
        if (*out_count == POLICIES_MAX) {
            fprintf(io->err, "hgcache: replay: --policy: more than %d policies\n", POLICIES_MAX);
            return HG_EXIT_USAGE;
        }
        out_list[(*out_count)++] = policy;
    }
    return HG_EXIT_DONE;
}

static bool read_size(struct hg_bytes text, bool in_objects, uint64_t *out_size)
{
    unsigned long long objects;
    if (!in_objects)
        return hg_size_parse(text, out_size) == HG_OK && *out_size > 0;
    if (!hg_bytes_to_u64(text, &objects) || objects == 0)
        return false;
    *out_size = objects;
    return true;
}

/* One run for each policy and size. */
static int read_runs(struct replay *replay, const struct hg_args *args, const struct hg_cli_io *io)
{
    const struct hg_policy_ops *policies[POLICIES_MAX];
    size_t policy_count = 0;
    if ((args->objects == NULL) == (args->capacity == NULL)) {
        fprintf(io->err,
                "hgcache: replay: expected either --objects N[,N] or --capacity SIZE[,SIZE]\n");
        return HG_EXIT_USAGE;
    }
    int code = read_policies(args, io, policies, &policy_count);
    if (code != HG_EXIT_DONE)
        return code;
    replay->in_objects = args->objects != NULL;
    struct hg_bytes rest = hg_bytes_str(replay->in_objects ? args->objects : args->capacity), part;
    while (next_part(&rest, &part)) {
        uint64_t size;
        char shown[64];
        if (!read_size(part, replay->in_objects, &size)) {
            fprintf(io->err, "hgcache: replay: %s, found \"%s\"\n",
                    replay->in_objects ? "--objects: expected numbers such as 1000,10000"
                                       : "--capacity: expected sizes such as 64MiB,1GiB",
                    hg_bytes_escape(part, shown, sizeof shown));
            return HG_EXIT_USAGE;
        }
        if (replay->run_count + policy_count > HG_REPLAY_RUNS_MAX) {
            fprintf(io->err, "hgcache: replay: more than %d pairs of policy and size\n",
                    HG_REPLAY_RUNS_MAX);
            return HG_EXIT_USAGE;
        }
        for (size_t i = 0; i < policy_count; i++)
            replay->runs[replay->run_count++] = (struct run){.policy = policies[i], .size = size};
    }
    return HG_EXIT_DONE;
}

/* ---- the run ---- */

static size_t cost_one(const struct hg_value *value, size_t share_bytes)
{
    (void)value;
    (void)share_bytes;
    return 1;
}

/* The value's data is the size that it stands for. */
static size_t cost_as_told(const struct hg_value *value, size_t share_bytes)
{
    uint64_t size_bytes;
    size_t bytes;
    struct hg_bytes data = hg_value_data(value);
    memcpy(&size_bytes, data.data, sizeof size_bytes);
    if (!hg_size_add(hg_value_size(value) - data.len, size_bytes, &bytes))
        return SIZE_MAX;
    bytes = hg_alloc_size(bytes);
    return hg_size_add(bytes, share_bytes, &bytes) ? bytes : SIZE_MAX;
}

static int runs_begin(struct replay *replay)
{
    for (size_t i = 0; i < replay->run_count; i++) {
        struct run *run = &replay->runs[i];
        hg_budget_init(&run->budget, run->size, 0, 0);
        run->budget.cost = replay->in_objects ? cost_one : cost_as_told;
        int rc = hg_store_init_policy(&run->store, &run->budget, run->policy, SEED, NULL, NULL);
        if (rc < 0)
            return rc;
    }
    return HG_OK;
}

static int run_request(struct run *run, const struct hg_trace_request *request, uint64_t hash)
{
    if (hg_store_get(&run->store, hash, request->key) != NULL) {
        run->hits++;
        return HG_OK;
    }
    run->misses++;
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE,
        .key = request->key,
        .data = hg_bytes(&request->size_bytes, sizeof request->size_bytes),
    };
    struct hg_value *value = hg_value_create(&spec);
    if (value == NULL)
        return HG_ENOMEM;
    int rc = hg_store_put(&run->store, value, HG_TIER_MAIN, 0, HG_FOREVER);
    hg_value_unref(value);
    return rc == HG_ENOMEM ? rc : HG_OK; /* what is bigger than the cache is a miss each time */
}

static void show_progress(const struct replay *replay, const struct hg_cli_io *io)
{
    if (replay->request_count % PROGRESS_EVERY != 0 || !isatty(fileno(io->err)))
        return;
    fprintf(io->err, "\r%llu requests", (unsigned long long)replay->request_count);
    fflush(io->err);
}

static int replay_all(struct replay *replay, const struct hg_cli_io *io)
{
    struct hg_trace_request request;
    int rc;
    while ((rc = hg_trace_next(&replay->trace, &request)) > 0) {
        uint64_t hash = hg_hash(request.key);
        for (size_t i = 0; i < replay->run_count; i++) {
            int err = run_request(&replay->runs[i], &request, hash);
            if (err < 0) {
                snprintf(replay->trace.error, sizeof replay->trace.error, "%s", hg_err_text(err));
                return err;
            }
        }
        replay->request_count++;
        show_progress(replay, io);
    }
    if (replay->request_count >= PROGRESS_EVERY && isatty(fileno(io->err)))
        fputs("\r\033[K", io->err);
    return rc;
}

/* ---- results ---- */

static double miss_ratio(const struct run *run)
{
    uint64_t gets = run->hits + run->misses;
    return gets == 0 ? 0 : (double)run->misses / (double)gets;
}

static int print_json(const struct replay *replay, const char *path, const struct hg_cli_io *io)
{
    json_t *results = json_array();
    for (size_t i = 0; i < replay->run_count; i++) {
        const struct run *run = &replay->runs[i];
        json_array_append_new(
            results, json_pack("{s:s, s:I, s:I, s:I, s:f}", "policy", run->policy->name,
                               replay->in_objects ? "objects" : "capacity", (json_int_t)run->size,
                               "hits", (json_int_t)run->hits, "misses", (json_int_t)run->misses,
                               "miss_ratio", miss_ratio(run)));
    }
    /* `?`: a path need not be UTF-8 */
    json_t *page = json_pack("{s:s, s:I, s:o}", "trace", path, "requests",
                             (json_int_t)replay->request_count, "results", results);
    if (page == NULL)
        page = json_pack("{s:n, s:I, s:o}", "trace", "requests", (json_int_t)replay->request_count,
                         "results", results);
    char *text = page == NULL ? NULL : json_dumps(page, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(page);
    if (text == NULL)
        return HG_ENOMEM;
    fprintf(io->out, "%s\n", text);
    free(text);
    return HG_OK;
}

static int add_cell(struct hg_text_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static int add_cell(struct hg_text_table *table, const char *format, ...)
{
    char cell[64];
    va_list list;
    va_start(list, format);
    int len = vsnprintf(cell, sizeof cell, format, list);
    va_end(list);
    return hg_text_table_add(table, hg_bytes(cell, (size_t)len));
}

static int print_table(const struct replay *replay, const struct hg_cli_io *io)
{
    static const char *const heading[] = {"policy", "",          "hits",
                                          "misses", "hit ratio", "miss ratio"};
    struct hg_text_table table;
    int err = HG_OK;
    hg_text_table_init(&table, HG_COUNT(heading), true);
    for (size_t i = 0; err == HG_OK && i < HG_COUNT(heading); i++)
        err = add_cell(&table, "%s",
                       i == 1 ? (replay->in_objects ? "objects" : "capacity") : heading[i]);
    for (size_t i = 0; err == HG_OK && i < replay->run_count; i++) {
        const struct run *run = &replay->runs[i];
        err = add_cell(&table, "%s", run->policy->name);
        err = err < 0 ? err : add_cell(&table, "%llu", (unsigned long long)run->size);
        err = err < 0 ? err : add_cell(&table, "%llu", (unsigned long long)run->hits);
        err = err < 0 ? err : add_cell(&table, "%llu", (unsigned long long)run->misses);
        err = err < 0
                  ? err
                  : add_cell(&table, "%.4f", replay->request_count == 0 ? 0 : 1 - miss_ratio(run));
        err = err < 0 ? err : add_cell(&table, "%.4f", miss_ratio(run));
    }
    if (err == HG_OK) {
        fprintf(io->out, "%llu requests", (unsigned long long)replay->request_count);
        if (replay->trace.skipped_count > 0)
            fprintf(io->out, ", %llu lines of the log passed over: no request in them",
                    (unsigned long long)replay->trace.skipped_count);
        fputs("\n\n", io->out);
        hg_text_table_print(&table, io->colour, io->out);
    }
    hg_text_table_finish(&table);
    return err;
}

int hg_replay(const struct hg_args *args, const struct hg_cli_io *io)
{
    struct replay *replay = hg_calloc(1, sizeof *replay);
    if (replay == NULL) {
        fprintf(io->err, "hgcache: replay: %s\n", hg_err_text(HG_ENOMEM));
        return HG_EXIT_FAILED;
    }
    int code = read_runs(replay, args, io);
    if (code != HG_EXIT_DONE)
        goto finish;

    code = HG_EXIT_FAILED;
    int rc = hg_trace_open(&replay->trace, args->words[0]);
    if (rc == HG_OK)
        rc = runs_begin(replay);
    if (rc == HG_OK)
        rc = replay_all(replay, io);
    if (rc == HG_OK)
        rc = args->json ? print_json(replay, args->words[0], io) : print_table(replay, io);
    if (rc == HG_OK)
        code = HG_EXIT_DONE;
    else
        fprintf(io->err, "hgcache: replay: %s\n",
                replay->trace.error[0] != '\0' ? replay->trace.error : hg_err_text(rc));

finish:
    for (size_t i = 0; i < replay->run_count; i++)
        hg_store_finish(&replay->runs[i].store);
    hg_trace_close(&replay->trace);
    hg_free(replay);
    return code;
}
