/*
 * Stupid models of the exact policies: keys in plain arrays, searched from end to end, written from the rules and
 * not from the code. Each is one function: what a look-up of a key does to a cache of `capacity` keys.
 */
#ifndef HG_CACHE_TEST_POLICY_MODELS_H
#define HG_CACHE_TEST_POLICY_MODELS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define MODEL_MAX 512

/* An array of keys; [0] is the oldest (the tail). */
struct keys {
    size_t key[MODEL_MAX], note[MODEL_MAX]; /* note: bit, count, ... */
    size_t count;
};

struct policy_model {
    size_t capacity;
    struct keys a, b, ghost_a, ghost_b; /* one list: a */
    size_t hand;                        /* index in a, from the tail */
    double target;
    size_t now;
};

static size_t keys_find(const struct keys *keys, size_t key)
{
    size_t i = 0;
    while (i < keys->count && keys->key[i] != key)
        i++;
    return i;
}

static bool keys_has(const struct keys *keys, size_t key)
{
    return keys_find(keys, key) < keys->count;
}

static size_t keys_take(struct keys *keys, size_t index)
{
    size_t key = keys->key[index], rest = keys->count - index - 1;
    memmove(&keys->key[index], &keys->key[index + 1], rest * sizeof(keys->key[0]));
    memmove(&keys->note[index], &keys->note[index + 1], rest * sizeof(keys->note[0]));
    keys->count--;
    return key;
}

static void keys_push(struct keys *keys, size_t key, size_t note)
{
    keys->key[keys->count] = key;
    keys->note[keys->count++] = note;
}

/* For all: true when it was a hit. */
typedef bool (*model_fn)(struct policy_model *m, size_t key);

static bool model_lru(struct policy_model *m, size_t key)
{
    size_t at = keys_find(&m->a, key);
    bool is_hit = at < m->a.count;
    if (is_hit)
        keys_take(&m->a, at);
    else if (m->a.count == m->capacity)
        keys_take(&m->a, 0);
    keys_push(&m->a, key, 0);
    return is_hit;
}

static bool model_fifo(struct policy_model *m, size_t key)
{
    if (keys_has(&m->a, key))
        return true;
    if (m->a.count == m->capacity)
        keys_take(&m->a, 0);
    keys_push(&m->a, key, 0);
    return false;
}

static bool model_clock(struct policy_model *m, size_t key)
{
    size_t at = keys_find(&m->a, key);
    if (at < m->a.count) {
        m->a.note[at] = 1;
        return true;
    }
    if (m->a.count == m->capacity) {
        while (m->a.note[0] == 1)
            keys_push(&m->a, keys_take(&m->a, 0), 0);
        keys_take(&m->a, 0);
    }
    keys_push(&m->a, key, 0);
    return false;
}

static bool model_sieve(struct policy_model *m, size_t key)
{
    size_t at = keys_find(&m->a, key);
    if (at < m->a.count) {
        m->a.note[at] = 1;
        return true;
    }
    if (m->a.count == m->capacity) {
        if (m->hand >= m->a.count)
            m->hand = 0;
        while (m->a.note[m->hand] == 1) {
            m->a.note[m->hand] = 0;
            m->hand = m->hand + 1 == m->a.count ? 0 : m->hand + 1;
        }
        bool is_head = m->hand + 1 == m->a.count;
        keys_take(&m->a, m->hand);
        if (is_head)
            m->hand = 0; /* past the head: from the tail again */
    }
    keys_push(&m->a, key, 0);
    return false;
}

/* note = count * 2^32 + when it was reached. */
static bool model_lfu(struct policy_model *m, size_t key)
{
    size_t at = keys_find(&m->a, key);
    m->now++;
    if (at < m->a.count) {
        m->a.note[at] = ((m->a.note[at] >> 32) + 1) << 32 | m->now;
        return true;
    }
    if (m->a.count == m->capacity) {
        size_t least = 0;
        for (size_t i = 1; i < m->a.count; i++)
            least = m->a.note[i] < m->a.note[least] ? i : least;
        keys_take(&m->a, least);
    }
    keys_push(&m->a, key, (size_t)1 << 32 | m->now);
    return false;
}

/* a = S, b = M, ghost_a = the ghost. */
static void model_s3_evict(struct policy_model *m)
{
    size_t c = m->capacity, ghost_size = c * 9 / 10;
    if (m->b.count > c - c / 10 || m->a.count == 0) {
        size_t uses = m->b.note[0], key = keys_take(&m->b, 0);
        if (uses > 0)
            keys_push(&m->b, key, (uses < 3 ? uses : 3) - 1);
        return;
    }
    while (m->a.count > 0) { /* "go on" is with S */
        size_t uses = m->a.note[0], key = keys_take(&m->a, 0);
        if (uses >= 2) {
            keys_push(&m->b, key, 0);
            continue;
        }
        while (m->ghost_a.count > 0 && m->ghost_a.count >= ghost_size)
            keys_take(&m->ghost_a, 0);
        if (ghost_size > 0)
            keys_push(&m->ghost_a, key, 0);
        return;
    }
}

static bool model_s3_fifo(struct policy_model *m, size_t key)
{
    size_t at = keys_find(&m->a, key);
    if (at < m->a.count) {
        m->a.note[at]++;
        return true;
    }
    at = keys_find(&m->b, key);
    if (at < m->b.count) {
        m->b.note[at]++;
        return true;
    }
    at = keys_find(&m->ghost_a, key);
    bool is_back = at < m->ghost_a.count;
    if (is_back)
        keys_take(&m->ghost_a, at);
    while (m->a.count + m->b.count >= m->capacity)
        model_s3_evict(m);
    keys_push(is_back ? &m->b : &m->a, key, 0);
    return false;
}

/* a, b = T1, T2; ghost_a, ghost_b = B1, B2. */
static void model_arc_replace(struct policy_model *m, bool is_in_b2)
{
    double t1 = (double)m->a.count;
    if (m->a.count > 0 && (t1 > m->target || (is_in_b2 && t1 == m->target)))
        keys_push(&m->ghost_a, keys_take(&m->a, 0), 0);
    else
        keys_push(&m->ghost_b, keys_take(&m->b, 0), 0);
}

static bool model_arc(struct policy_model *m, size_t key)
{
    double c = (double)m->capacity;
    double b1 = (double)m->ghost_a.count, b2 = (double)m->ghost_b.count;
    size_t at;
    if ((at = keys_find(&m->a, key)) < m->a.count) {
        keys_push(&m->b, keys_take(&m->a, at), 0);
        return true;
    }
    if ((at = keys_find(&m->b, key)) < m->b.count) {
        keys_push(&m->b, keys_take(&m->b, at), 0);
        return true;
    }
    if ((at = keys_find(&m->ghost_a, key)) < m->ghost_a.count) {
        m->target += b2 / b1 > 1 ? b2 / b1 : 1;
        m->target = m->target > c ? c : m->target;
        keys_take(&m->ghost_a, at);
        model_arc_replace(m, false);
        keys_push(&m->b, key, 0);
        return false;
    }
    if ((at = keys_find(&m->ghost_b, key)) < m->ghost_b.count) {
        m->target -= b1 / b2 > 1 ? b1 / b2 : 1;
        m->target = m->target < 0 ? 0 : m->target;
        keys_take(&m->ghost_b, at);
        model_arc_replace(m, true);
        keys_push(&m->b, key, 0);
        return false;
    }
    size_t l1 = m->a.count + m->ghost_a.count, l2 = m->b.count + m->ghost_b.count;
    if (l1 == m->capacity) {
        if (m->a.count < m->capacity) {
            keys_take(&m->ghost_a, 0);
            model_arc_replace(m, false);
        } else {
            keys_take(&m->a, 0);
        }
    } else if (l1 + l2 >= m->capacity) {
        if (l1 + l2 == 2 * m->capacity)
            keys_take(&m->ghost_b, 0);
        model_arc_replace(m, false);
    }
    keys_push(&m->a, key, 0);
    return false;
}

#endif
