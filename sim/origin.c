/*
 * The origin: what a key's value is at any time, and the getters that read it.
 *
 *   value = (key, version, lives, checksum), so that what is read can be judged wherever it turns up
 */
#include "world.h"

struct payload {
    uint32_t magic, key;
    uint64_t version, ttl_ms, window_ms, pad, sum;
};
#define MAGIC   0x68677331u
#define PAD_MAX 6000

struct job {
    struct hg_list link; /* of world->jobs; first, see node_crash */
    struct node *node;
    struct hg_load *load;
    unsigned key;
    uint64_t started, read_at, version;
    bool has_read, is_over, has_nested, is_gathered;
    unsigned *followers; /* keys loaded with it */
    size_t follower_count;
};

unsigned key_group(unsigned key)
{
    return key / KEYS_MAX;
}

struct hg_bytes key_name(unsigned key)
{
    static char names[ALL_KEYS][16];
    static const char *const forms[] = {"k%u", "key/%u", "a+b %u", "%%%u"};
    unsigned number = key % KEYS_MAX;
    char *name = names[key];
    if (name[0] == '\0')
        snprintf(name, sizeof(names[key]), forms[number % 4], number); /* NOLINT: one of ours */
    return hg_bytes_str(name);
}

bool key_find(const struct node *node, const struct hg_group *group, struct hg_bytes name,
              unsigned *out_key)
{
    for (unsigned g = 0; g < GROUPS; g++) {
        if (node->group[g] != group)
            continue;
        for (unsigned i = 0; i < KEYS_MAX; i++) {
            if (hg_bytes_eq(key_name(g * KEYS_MAX + i), name)) {
                *out_key = g * KEYS_MAX + i;
                return true;
            }
        }
    }
    return false;
}

unsigned tag_of(unsigned key)
{
    return key % (TAGS + 1);
}

struct hg_bytes tag_name(unsigned tag)
{
    static const struct hg_bytes names[TAGS] = {{"red", 3}, {"green", 5}, {"blue", 4}};
    return names[tag];
}

void key_new_version(struct world *world, unsigned key)
{
    struct key *it = &world->keys[key];
    if (it->version + 1 < VERSIONS_MAX)
        it->since[++it->version] = world->now;
    trace(world, -1, "version", key, it->version);
}

bool key_is_absent(const struct world *world, unsigned key, uint64_t version)
{
    uint64_t mix = (world->seed ^ (key * 1000003ull + version)) * 0x9fb21c651e98df25u;
    return (mix >> 33) % 1000 < world->options.p_absent;
}

static uint64_t payload_sum(const struct payload *payload)
{
    uint64_t words[] = {payload->magic,  payload->key,       payload->version,
                        payload->ttl_ms, payload->window_ms, payload->pad};
    uint64_t sum = 1;
    for (size_t i = 0; i < HG_COUNT(words); i++)
        sum = (sum ^ words[i]) * 0x9fb21c651e98df25u + (sum >> 31);
    return sum;
}

static struct hg_value *make_value(struct world *world, unsigned key, uint64_t version,
                                   uint64_t pad)
{
    const struct options *o = &world->options;
    struct payload payload = {.magic = MAGIC, .key = key, .version = version, .pad = pad};
    char data[sizeof(payload) + PAD_MAX];
    struct hg_bytes tags[1];
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE,
        .key = key_name(key),
        .data = hg_bytes(data, sizeof(payload) + (size_t)pad),
        .type = HG_BYTES("text/odd"),
        .tags = tags,
    };

    payload.ttl_ms = o->ttl_ms;
    payload.window_ms = o->swr_ms > o->sie_ms ? o->swr_ms : o->sie_ms;
    if (chance(world, o->p_odd_ttl)) {
        static const uint64_t odd[] = {0, 1, 30, 400, 3000, 100000, HG_FOREVER};
        spec.has_ttl = true;
        spec.ttl_ms = payload.ttl_ms = odd[below(world, HG_COUNT(odd))];
    }
    if (chance(world, o->p_odd_ttl)) {
        spec.has_swr = spec.has_sie = true;
        spec.stale_while_revalidate_ms = below(world, 500);
        spec.stale_if_error_ms = below(world, 500);
        /* A PUT does not carry them: there the group's apply. */
        if (payload.window_ms < spec.stale_while_revalidate_ms)
            payload.window_ms = spec.stale_while_revalidate_ms;
        if (payload.window_ms < spec.stale_if_error_ms)
            payload.window_ms = spec.stale_if_error_ms;
    }
    if (tag_of(key) < TAGS) {
        tags[0] = tag_name(tag_of(key));
        spec.tag_count = 1;
    }
    payload.sum = payload_sum(&payload);
    memcpy(data, &payload, sizeof(payload));
    memset(data + sizeof(payload), (int)('a' + version % 26), (size_t)pad);
    return hg_value_create(&spec);
}

struct hg_value *origin_value(struct world *world, unsigned key, uint64_t version)
{
    uint64_t most = world->options.value_max - sizeof(struct payload);
    uint64_t pad =
        chance(world, world->options.big_values) ? below(world, most) : below(world, 150);
    return make_value(world, key, version, pad);
}

struct sample value_read(struct world *world, const struct hg_value *value, unsigned key)
{
    struct hg_bytes data = hg_value_data(value);
    struct payload payload;

    must(world, "I9", data.len >= sizeof(payload), "key %u: a value of %zu bytes", key, data.len);
    memcpy(&payload, data.data, sizeof(payload));
    must(world, "I9", payload.magic == MAGIC && payload.sum == payload_sum(&payload),
         "key %u: a value that nobody wrote", key);
    must(world, "I9", data.len == sizeof(payload) + payload.pad,
         "key %u: %zu bytes of a value of %zu", key, data.len,
         sizeof(payload) + (size_t)payload.pad);
    for (size_t i = sizeof(payload); i < data.len; i++)
        must(world, "I9", data.data[i] == (char)('a' + payload.version % 26),
             "key %u: byte %zu is wrong", key, i);
    must(world, "I9", payload.key == key, "key %u was answered with the value of key %u", key,
         payload.key);
    must(world, "I9",
         hg_bytes_eq(hg_value_type(value), HG_BYTES("text/odd")) &&
             hg_value_more(value).tag_count == (tag_of(key) < TAGS),
         "key %u: type or tags are lost", key);
    must(world, "I9", payload.version <= world->keys[key].version,
         "key %u: version %llu is to come", key, (unsigned long long)payload.version);
    return (struct sample){payload.version, payload.ttl_ms, payload.window_ms,
                           data.len > world->options.value_max};
}

/* ---- getters ---- */

static void read_origin(struct job *job)
{
    job->version = job->node->world->keys[job->key].version;
    job->read_at = job->node->world->now;
    job->has_read = true;
}

static void close_job(struct job *job)
{
    struct node *node = job->node;

    job->is_over = true;
    hg_list_remove(&job->link);
    node->running[job->key]--;
    for (size_t i = 0; i < job->follower_count; i++)
        node->running[job->followers[i]]--;
    node->jobs--;
    node->world->open_jobs--;
}

void job_kill(struct job *job)
{
    struct node *node = job->node;
    if (node->is_alive)
        return;
    close_job(job);
    hg_load_fail(job->load, HG_CLASS_INTERNAL, HG_BYTES("closing"), node_now(node), NULL);
}

/* Who joined is loaded with it. */
static void gather(struct world *world, struct job *job)
{
    struct node *node = job->node;

    if (job->is_gathered)
        return;
    job->is_gathered = true;
    size_t count = hg_load_gather(job->load, node_now(node));
    must(world, "I4", count <= world->options.batch || world->options.batch < 2,
         "a batch of %zu loads", count);
    if (count == 1)
        return;
    job->followers = arena_get(world, count * sizeof(job->followers[0]));
    hg_list_for_each(it, &job->load->followers)
    {
        struct hg_load *load = hg_container_of(it, struct hg_load, link);
        unsigned key;
        if (!key_find(node, load->group, load->flight.key, &key))
            world_fail(world, "I9", "a load of a key that nobody asked for");
        check_load_start(node, load, key);
        node->running[key]++;
        node->loads_counted[key_group(key)]++;
        world->report->loads++;
        job->followers[job->follower_count++] = key;
        trace(world, (int)node->index, "load with", key, job->key);
    }
}

static void job_gathers(struct world *world, void *arg)
{
    struct job *job = arg;
    if (!job->is_over)
        gather(world, job);
}

static struct hg_value *follower_value(struct world *world, const struct job *job, unsigned key)
{
    /* Read now, which is at the latest when the first was. */
    uint64_t version = world->keys[key].version;
    struct hg_value_spec spec = {.status = HG_STATUS_NOT_FOUND, .key = key_name(key)};

    (void)job;
    if (!world->is_healed && chance(world, world->options.p_load_fails)) {
        spec.status = HG_STATUS_ERROR;
        spec.klass = (enum hg_class)below(world, 5);
        world->keys[key].last_error = world->now;
        return hg_value_create(&spec);
    }
    return key_is_absent(world, key, version) ? hg_value_create(&spec)
                                              : origin_value(world, key, version);
}

static void report_all(struct job *job, struct hg_value *first, struct hg_loop *here)
{
    struct world *world = job->node->world;
    size_t count = job->follower_count + 1;
    struct hg_value **results = arena_get(world, count * sizeof(results[0]));

    results[0] = first;
    for (size_t i = 0; i < job->follower_count; i++) {
        unsigned key = job->followers[i];
        results[i + 1] = follower_value(world, job, key);
        if (results[i + 1] == NULL)
            world->keys[key].last_error = world->now;
    }
    hg_load_finish_many(job->load, results, count, node_now(job->node), here);
}

static void all_failed(struct job *job)
{
    unsigned key;

    hg_list_for_each(it, &job->load->followers)
    {
        const struct hg_load *load = hg_container_of(it, struct hg_load, link);
        if (key_find(job->node, load->group, load->flight.key, &key))
            job->node->world->keys[key].last_error = job->node->world->now;
    }
}

static bool can_keep(struct world *world, const struct job *job)
{
    const struct hg_value *old = job->load->old;
    if (old == NULL || key_is_absent(world, job->key, job->version))
        return false;
    return value_read(world, old, job->key).version == job->version;
}

static void job_ends(struct world *world, void *arg)
{
    struct job *job = arg;
    struct node *node = job->node;
    struct hg_load *load = job->load;
    const struct options *o = &world->options;
    struct hg_loop *here = chance(world, 400) ? node_any_loop(node) : NULL;
    uint64_t now_ms = node_now(node);
    struct hg_value *value = NULL;
    bool is_kept = false;

    if (job->is_over)
        return;
    close_job(job);
    if (!job->has_read)
        read_origin(job);
    if (world->now - job->read_at > world->lag_read)
        world->lag_read = world->now - job->read_at;

    if (now_ms >= load->deadline_ms) {
        trace(world, (int)node->index, "load late", job->key, 0);
        all_failed(job);
        world->keys[job->key].last_error = world->now;
        hg_load_fail(load, HG_CLASS_TIMEOUT, HG_BYTES("too late"), now_ms, here);
        return;
    }
    if (!world->is_healed && chance(world, o->p_load_fails)) {
        enum hg_class klass = (enum hg_class)below(world, 5);
        trace(world, (int)node->index, "load fails", job->key, klass);
        all_failed(job);
        world->keys[job->key].last_error = world->now;
        hg_load_fail(load, klass, HG_BYTES("no luck"), now_ms, here);
        return;
    }
    if (o->batch > 1 &&
        !job->is_gathered) { /* it ends at once: who joined is loaded all the same */
        node->running[job->key]++;
        gather(world, job);
        node->running[job->key]--;
        for (size_t i = 0; i < job->follower_count; i++)
            node->running[job->followers[i]]--;
    }
    bool wants_keep = chance(world, o->p_keep),
         is_odd = !world->is_healed && chance(world, o->p_odd_end);
    if (is_odd) { /* a getter that ends with nothing, or keeps what is not there */
        is_kept = load->old == NULL && chance(world, 500);
    } else if (wants_keep && can_keep(world, job)) {
        is_kept = true;
    } else if (key_is_absent(world, job->key, job->version)) {
        struct hg_value_spec spec = {.status = HG_STATUS_NOT_FOUND, .key = load->flight.key};
        value = hg_value_create(&spec);
    } else if (chance(world, o->p_oversized)) {
        value = make_value(world, job->key, job->version, o->value_max + below(world, 1000));
    } else {
        value = origin_value(world, job->key, job->version);
    }
    trace(world, (int)node->index, is_kept ? "load keeps" : "load ends", job->key,
          value == NULL ? 0 : job->version + 1);
    if ((value == NULL && (!is_kept || is_odd)) ||
        (value != NULL && hg_value_data_len(value) > o->value_max))
        world->keys[job->key].last_error = world->now;
    if (o->batch > 1 && is_kept) { /* which a batch cannot */
        all_failed(job);
        world->keys[job->key].last_error = world->now;
    }
    if (o->batch > 1 && job->is_gathered && !is_kept)
        report_all(job, value, here);
    else if (is_kept)
        hg_load_keep(load, chance(world, 700) ? HG_TTL_OF_GROUP : below(world, o->ttl_ms + 1),
                     now_ms, here);
    else
        hg_load_finish(load, value, now_ms, here);
}

void job_resume(struct job *job)
{
    struct world *world = job->node->world;
    if (!job->is_over)
        after(world, below(world, world->is_healed ? 10 : world->options.load_ms), job->node,
              job_ends, job);
}

static void job_goes_on(struct world *world, void *arg)
{
    struct job *job = arg;
    struct node *node = job->node;
    const struct options *o = &world->options;

    if (job->is_over)
        return;
    if (chance(world, 500))
        read_origin(job);
    unsigned number = job->key % KEYS_MAX;
    uint64_t now_ms = node_now(node);
    if (job->has_nested || world->is_healed || now_ms >= job->load->deadline_ms ||
        !chance(world, o->p_nested) || (o->is_dag && number == 0)) {
        job_resume(job);
        return;
    }
    job->has_nested = true;
    unsigned other = (unsigned)below(world, o->is_dag ? number : o->keys);
    other += (unsigned)below(world, GROUPS) * KEYS_MAX;
    struct hg_get get = {.parent = job->load};
    client_start(node, CLIENT_NESTED, other, &get, job->load->deadline_ms - now_ms, job);
}

int source_load(void *ctx, struct hg_load *load)
{
    struct node *node = ctx;
    struct world *world = node->world;
    const struct options *o = &world->options;
    unsigned key;

    if (!key_find(node, load->group, load->flight.key, &key))
        world_fail(world, "I9", "a load of a key that nobody asked for");
    node->loads_counted[key_group(key)]++;
    if (!node->is_alive)
        return HG_ECANCELED;
    check_load_start(node, load, key);
    if (!world->is_healed && chance(world, o->p_load_unstarted)) {
        trace(world, (int)node->index, "load unstarted", key, 0);
        return HG_ENOMEM;
    }
    struct job *job = arena_get(world, sizeof(*job));
    *job = (struct job){.node = node, .load = load, .key = key, .started = world->now};
    load->above = job;
    hg_list_push_back(&world->jobs, &job->link);
    node->running[key]++;
    node->jobs++;
    world->open_jobs++;
    world->report->loads++;
    trace(world, (int)node->index, "load", key, load->reason);

    if (o->batch > 1)
        after(world, below(world, 4), node, job_gathers, job);
    uint64_t takes_ms = below(world, world->is_healed ? 20 : o->load_ms + 1);
    if (!world->is_healed && chance(world, o->p_load_slow))
        takes_ms = below(world, 2000);
    /* A batch may come to run when the deadline of its first is over. */
    uint64_t left_ms = load->deadline_ms > node_now(node) ? load->deadline_ms - node_now(node) : 0;
    if (left_ms > o->guard_timeout_ms && o->guard != 0)
        left_ms = o->guard_timeout_ms;
    /* The source gives up at the deadline, whatever its getter does. */
    after(world, node_wait(node, left_ms), node, job_ends, job);
    if (world->is_healed || !chance(world, o->p_load_never))
        after(world, takes_ms, node, job_goes_on, job);
    return HG_OK;
}
