/*
 * The store alone, one thread: get, and put on a miss, Zipf 0.99 over a million keys of 16 bytes with values of 32.
 *
 *   bench_store [ROUNDS [NAME [CAPACITY]]]
 *                                  operations a second of lru, sieve, s3-fifo and, where GLib is installed, of a plain
 *                                  GLib hash table with a queue: all resident, and 100,000 entries. The contestants
 *                                  run by turns; medians over the rounds, ratios taken within one round.
 *                                  "x16" asks for sixteen at a time (hg_store_get_many).
 *   bench_store threads [SHARDS]   the same look-ups in a group's shards, as many as two workers get, by one thread and by
 *                                  two: wall time, all resident
 *   bench_store memory [POLICY]    process growth an entry for a million entries, less key and value
 *
 * CPU time, not wall time: the machine may be shared.
 */
#include <stdio.h>
#include <stdlib.h>
#include <math.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#ifdef HG_HAVE_GLIB
#include <glib.h>
#endif
#ifdef HG_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#define TEXT(x)      #x
#define STRINGIFY(x) TEXT(x)
#endif

#include "base/err.h"
#include "base/hash.h"
#include "cache/store.h"
#include "group/shard.h"

#define KEYS       1000000
#define KEY_BYTES  16
#define DATA_BYTES 32
#define GETS       2000000
#define EXPONENT   0.99
#define ROUNDS_MAX 31
#define TOGETHER   16

static char keys[KEYS][KEY_BYTES + 1];
/* The keys as they are asked for, one after the other, as requests come in: fetching them is no work of a store's. */
static char asked[GETS][KEY_BYTES + 1];

static double cpu_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* By inversion of the sums; ranks are spread over the keys, so that popular ones do not lie side by side. */
static void make_sequence(void)
{
    static double sums[KEYS];
    uint64_t state = 1;
    double sum = 0;
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(keys[i], sizeof keys[i], "%016llx", (unsigned long long)(i * 0x9e3779b97f4a7c15u));
        sums[i] = sum += pow((double)i + 1, -EXPONENT);
    }
    for (size_t i = 0; i < GETS; i++) {
        double wanted = (double)(random_next(&state) >> 11) / 9007199254740992.0 * sum;
        size_t low = 0, high = KEYS - 1;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (sums[middle] < wanted)
                low = middle + 1;
            else
                high = middle;
        }
        memcpy(asked[i], keys[low * 7919 % KEYS], sizeof asked[i]);
    }
}

/* ---- ours ---- */

static size_t cost_one(const struct hg_value *value, size_t share_bytes)
{
    (void)value;
    (void)share_bytes;
    return 1;
}

/* On a miss; apart, so that a hit needs no stack. */
static __attribute__((noinline)) void store_put(struct hg_store *store, struct hg_bytes key)
{
    static const char data[DATA_BYTES];
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = key, .data = hg_bytes(data, sizeof data)};
    struct hg_value *value = hg_value_create(&spec);
    if (value == NULL || hg_store_put(store, value, HG_TIER_MAIN, 0, HG_FOREVER) != HG_OK)
        abort();
    hg_value_unref(value);
}

static size_t store_get(struct hg_store *store, const char *text)
{
    struct hg_bytes key = hg_bytes(text, KEY_BYTES);
    if (hg_store_get(store, hg_hash(key), key) != NULL)
        return 1;
    store_put(store, key);
    return 0;
}

static void fill_store(struct hg_store *store, size_t count)
{
    for (size_t i = 0; i < count; i++)
        store_get(store, keys[i]);
}

/* Sixteen keys at a time; what is missing is put one by one. */
static size_t store_get_many(struct hg_store *store, size_t first)
{
    uint64_t hashes[TOGETHER];
    struct hg_bytes texts[TOGETHER];
    struct hg_value *found[TOGETHER];
    size_t hits = 0;
    for (size_t i = 0; i < TOGETHER; i++) {
        texts[i] = hg_bytes(asked[first + i], KEY_BYTES);
        hashes[i] = hg_hash(texts[i]);
    }
    hg_store_get_many(store, hashes, texts, TOGETHER, found);
    for (size_t i = 0; i < TOGETHER; i++) {
        hits += found[i] != NULL;
        if (found[i] == NULL)
            store_put(store, texts[i]);
    }
    return hits;
}

static double run_store(const char *policy, size_t capacity, bool is_many)
{
    struct hg_budget budget;
    struct hg_store store;
    hg_budget_init(&budget, capacity, 0, 0);
    budget.cost = cost_one;
    if (hg_store_init_policy(&store, &budget, hg_policy_find(hg_bytes_str(policy)), 1, NULL, NULL) <
        0)
        abort();
    fill_store(&store, KEYS);
    size_t hits = 0;
    double start = cpu_seconds();
    for (size_t i = 0; i < GETS; i += is_many ? TOGETHER : 1)
        hits += is_many ? store_get_many(&store, i) : store_get(&store, asked[i]);
    double seconds = cpu_seconds() - start;
    if (hits == 0)
        abort();
    hg_store_finish(&store);
    return GETS / seconds / 1e6;
}

static double run_lru(size_t capacity)
{
    return run_store("lru", capacity, false);
}

static double run_lru_many(size_t capacity)
{
    return run_store("lru", capacity, true);
}

static double run_sieve(size_t capacity)
{
    return run_store("sieve", capacity, false);
}

static double run_s3_fifo(size_t capacity)
{
    return run_store("s3-fifo", capacity, false);
}

/* ---- GLib's ---- */

#ifdef HG_HAVE_GLIB
struct glib_entry {
    GList link;
    char key[KEY_BYTES + 1];
    char data[DATA_BYTES];
};

static size_t glib_get(GHashTable *table, GQueue *queue, size_t capacity, const char *key)
{
    struct glib_entry *entry = g_hash_table_lookup(table, key);
    if (entry != NULL) {
        g_queue_unlink(queue, &entry->link);
        g_queue_push_head_link(queue, &entry->link);
        return 1;
    }
    if (queue->length == capacity) {
        struct glib_entry *last = queue->tail->data;
        g_queue_unlink(queue, &last->link);
        g_hash_table_remove(table, last->key);
        g_free(last);
    }
    entry = g_malloc0(sizeof *entry);
    memcpy(entry->key, key, sizeof entry->key);
    entry->link.data = entry;
    g_queue_push_head_link(queue, &entry->link);
    g_hash_table_insert(table, entry->key, entry);
    return 0;
}

static double run_glib(size_t capacity)
{
    GHashTable *table = g_hash_table_new(g_str_hash, g_str_equal);
    GQueue queue = G_QUEUE_INIT;
    for (size_t i = 0; i < KEYS; i++)
        glib_get(table, &queue, capacity, keys[i]);
    size_t hits = 0;
    double start = cpu_seconds();
    for (size_t i = 0; i < GETS; i++)
        hits += glib_get(table, &queue, capacity, asked[i]);
    double seconds = cpu_seconds() - start;
    if (hits == 0)
        abort();
    g_hash_table_destroy(table);
    for (GList *link = queue.head, *next; link != NULL; link = next) {
        next = link->next;
        g_free(link->data);
    }
    return GETS / seconds / 1e6;
}
#endif

/* ---- rounds ---- */

static const struct contestant {
    const char *name;
    double (*run)(size_t capacity);
} contestants[] = {
#ifdef HG_HAVE_GLIB
    {"glib", run_glib},
#endif
    {"lru", run_lru},   {"lru x16", run_lru_many}, {"sieve", run_sieve}, {"s3-fifo", run_s3_fifo},
};

/* ---- threads ---- */

static unsigned shard_count;
static struct hg_shard *shards;

/* As group/get.c: under one lock. */
static void shard_get(const char *text)
{
    struct hg_bytes key = hg_bytes(text, KEY_BYTES);
    uint64_t hash = hg_hash(key);
    struct hg_shard *shard = hg_shard_of(shards, shard_count, hash);
    hg_store_fetch(&shard->store, hash);
    hg_shard_lock(shard);
    if (hg_store_get(&shard->store, hash, key) == NULL)
        store_put(&shard->store, key);
    hg_shard_unlock(shard);
}

/* Each thread asks for all of it, beginning at its own place. */
static void *ask_all(void *arg)
{
    size_t first = *(const size_t *)arg;
    for (size_t i = 0; i < GETS; i++)
        shard_get(asked[(first + i) % GETS]);
    return NULL;
}

static double wall_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* M operations a second. */
static double run_threads(size_t thread_count)
{
    static size_t firsts[2] = {0, GETS / 2};
    pthread_t threads[2];
    double start = wall_seconds();
    for (size_t i = 0; i < thread_count; i++) {
        if (pthread_create(&threads[i], NULL, ask_all, &firsts[i]) != 0)
            abort();
    }
    for (size_t i = 0; i < thread_count; i++)
        pthread_join(threads[i], NULL);
    return (double)thread_count * GETS / (wall_seconds() - start) / 1e6;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *numbers, size_t count)
{
    qsort(numbers, count, sizeof *numbers, compare);
    return numbers[count / 2];
}

/* One alone is for profilers. */
static void run_one(const char *name, size_t capacity, size_t rounds)
{
    for (size_t i = 0; i < HG_COUNT(contestants); i++) {
        for (size_t round = 0; strcmp(contestants[i].name, name) == 0 && round < rounds; round++)
            printf("%s %.2f\n", name, contestants[i].run(capacity));
    }
}

static void run_rounds(const char *title, size_t capacity, size_t rounds)
{
    double speed[HG_COUNT(contestants)][ROUNDS_MAX], ratio[HG_COUNT(contestants)][ROUNDS_MAX];
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < HG_COUNT(contestants); i++) {
            speed[i][round] = contestants[i].run(capacity);
            ratio[i][round] = speed[i][round] / speed[0][round];
        }
    }
    printf("%s\n", title);
    for (size_t i = 0; i < HG_COUNT(contestants); i++)
        printf("  %-8s %6.2f M operations a second, %5.2f x %s\n", contestants[i].name,
               median(speed[i], rounds), median(ratio[i], rounds), contestants[0].name);
}

static int run_two_threads(size_t rounds, unsigned count)
{
    static double one[ROUNDS_MAX], two[ROUNDS_MAX], ratio[ROUNDS_MAX];
    struct hg_budget budget;
    hg_budget_init(&budget, SIZE_MAX, 0, 0);
    shard_count = count;
    shards = aligned_alloc(HG_CACHE_LINE, count * sizeof *shards);
    for (unsigned i = 0; i < count; i++) {
        if (shards == NULL ||
            hg_shard_init(&shards[i], &budget, &hg_policy_lru, 0, 0, NULL, NULL) < 0)
            abort();
    }
    for (size_t i = 0; i < KEYS; i++)
        shard_get(keys[i]);
    for (size_t round = 0; round < rounds; round++) {
        one[round] = run_threads(1);
        two[round] = run_threads(2);
        ratio[round] = two[round] / one[round];
    }
    printf("one thread %.2f, two threads %.2f M operations a second, %.2f x\n", median(one, rounds),
           median(two, rounds), median(ratio, rounds));
    for (unsigned i = 0; i < count; i++)
        hg_shard_finish(&shards[i]);
    free(shards);
    return 0;
}

static size_t resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu %lu", &size, &resident) != 2)
        abort();
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void purge(void)
{
#ifdef HG_HAVE_JEMALLOC
    mallctl("arena." STRINGIFY(MALLCTL_ARENAS_ALL) ".purge", NULL, NULL, NULL, 0);
#endif
}

static int run_memory(const char *name)
{
    struct hg_budget budget;
    struct hg_store store;
    const struct hg_policy_ops *policy = hg_policy_find(hg_bytes_str(name));
    if (policy == NULL) {
        fprintf(stderr, "bench_store: unknown policy \"%s\"\n", name);
        return 2;
    }
    hg_budget_init(&budget, SIZE_MAX, 0, 0);
    if (hg_store_init_policy(&store, &budget, policy, 1, NULL, NULL) < 0)
        abort();
    size_t before = resident_bytes();
    fill_store(&store, KEYS);
    purge(); /* what the allocator gives back by itself after a while */
    double growth = (double)(resident_bytes() - before) / KEYS;
    printf("%s: %.1f bytes an entry above key and value (charged %.1f)\n", name,
           growth - KEY_BYTES - DATA_BYTES,
           (double)atomic_load(&budget.used) / KEYS - KEY_BYTES - DATA_BYTES);
    hg_store_finish(&store);
    return 0;
}

int main(int argc, char **argv)
{
    make_sequence();
    if (argc > 1 && strcmp(argv[1], "memory") == 0)
        return run_memory(argc > 2 ? argv[2] : "lru");
    if (argc > 1 && strcmp(argv[1], "threads") == 0)
        return run_two_threads(9, argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10)
                                           : 2 * HG_SHARDS_PER_WORKER);
    size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 5;
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(
            stderr,
            "usage: bench_store [ROUNDS [NAME [CAPACITY]]] | threads [SHARDS] | memory [POLICY]\n");
        return 2;
    }
    if (argc > 2) {
        run_one(argv[2], argc > 3 ? strtoul(argv[3], NULL, 10) : KEYS, rounds);
        return 0;
    }
    run_rounds("all resident", KEYS, rounds);
    run_rounds("100,000 entries", 100000, rounds);
    return 0;
}
