#include "net/out.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/err.h"

#define POOL_MAX       64 /* blocks kept for reuse: 1 MiB a server */
#define BLOCK_CAPACITY (HG_OUT_BLOCK - offsetof(struct hg_out_block, data))

static struct hg_out_block *block_take(struct hg_out_pool *pool, size_t len)
{
    struct hg_out_block *block;
    size_t capacity = BLOCK_CAPACITY;

    if (len <= capacity && pool->free != NULL) {
        block = pool->free;
        pool->free = block->next;
        pool->count--;
    } else {
        size_t size = HG_OUT_BLOCK;
        if (len > capacity) {
            capacity = len;
            if (!hg_size_add(len, offsetof(struct hg_out_block, data), &size))
                return NULL;
        }
        block = hg_malloc(size);
        if (block == NULL)
            return NULL;
        block->capacity = capacity;
    }
    block->next = NULL;
    block->len = block->sent = block->value_sent = 0;
    block->segment_index = block->segment_count = 0;
    return block;
}

static void block_give(struct hg_out_pool *pool, struct hg_out_block *block)
{
    if (block->capacity != BLOCK_CAPACITY || pool->count >= POOL_MAX) {
        hg_free(block);
        return;
    }
    block->next = pool->free;
    pool->free = block;
    pool->count++;
}

void hg_out_pool_finish(struct hg_out_pool *pool)
{
    while (pool->free != NULL) {
        struct hg_out_block *block = pool->free;
        pool->free = block->next;
        hg_free(block);
    }
    pool->count = 0;
}

static struct hg_out_block *block_add(struct hg_out *out, struct hg_out_pool *pool, size_t len)
{
    struct hg_out_block *block = block_take(pool, len);
    if (block == NULL)
        return NULL;
    if (out->tail != NULL)
        out->tail->next = block;
    else
        out->head = block;
    out->tail = block;
    return block;
}

char *hg_out_reserve(struct hg_out *out, struct hg_out_pool *pool, size_t len)
{
    struct hg_out_block *block = out->tail;
    if (block == NULL || block->capacity - block->len < len)
        block = block_add(out, pool, len);
    return block == NULL ? NULL : block->data + block->len;
}

void hg_out_commit(struct hg_out *out, size_t len)
{
    assert(out->tail != NULL);
    assert(len <= out->tail->capacity - out->tail->len);
    out->tail->len += len;
    out->bytes += len;
}

int hg_out_append(struct hg_out *out, struct hg_out_pool *pool, const char *data, size_t len)
{
    if (len == 0)
        return HG_OK;
    char *at = hg_out_reserve(out, pool, len);
    if (at == NULL)
        return HG_ENOMEM;
    memcpy(at, data, len);
    hg_out_commit(out, len);
    return HG_OK;
}

int hg_out_append_value(struct hg_out *out, struct hg_out_pool *pool, struct hg_value *value)
{
    if (hg_value_data_len(value) == 0) {
        hg_value_unref(value);
        return HG_OK;
    }
    struct hg_out_block *block = out->tail;
    if (block == NULL || block->segment_count == HG_OUT_SEGMENTS)
        block = block_add(out, pool, 0);
    if (block == NULL)
        return HG_ENOMEM;
    block->segments[block->segment_count++] = (struct hg_out_segment){block->len, value};
    out->bytes += hg_value_data_len(value);
    out->pinned += hg_value_data_len(value);
    return HG_OK;
}

unsigned hg_out_pieces(const struct hg_out *out, uv_buf_t *bufs, unsigned max, size_t *out_bytes)
{
    unsigned count = 0;
    size_t bytes = 0;

    for (struct hg_out_block *block = out->head; block != NULL && count < max;
         block = block->next) {
        size_t sent = block->sent, value_sent = block->value_sent;
        unsigned index = block->segment_index;
        while (count < max) {
            bool has_value = index < block->segment_count;
            size_t end = has_value ? block->segments[index].at : block->len;
            if (sent < end) {
                bufs[count++] = uv_buf_init(block->data + sent, (unsigned)(end - sent));
                bytes += end - sent;
                sent = end;
            } else if (has_value) {
                struct hg_bytes data = hg_value_data(block->segments[index++].value);
                bufs[count++] = uv_buf_init((char *)(uintptr_t)(data.data + value_sent),
                                            (unsigned)(data.len - value_sent));
                bytes += data.len - value_sent;
                value_sent = 0;
            } else {
                break;
            }
        }
    }
    *out_bytes = bytes;
    return count;
}

/* Marks up to count bytes of the block as sent; returns how many it took. */
static size_t block_consume(struct hg_out *out, struct hg_out_block *block, size_t count)
{
    size_t left = count;
    while (left > 0) {
        bool has_value = block->segment_index < block->segment_count;
        size_t end = has_value ? block->segments[block->segment_index].at : block->len;
        if (block->sent < end) {
            size_t step = end - block->sent < left ? end - block->sent : left;
            block->sent += step;
            left -= step;
        } else if (has_value) {
            struct hg_value *value = block->segments[block->segment_index].value;
            size_t rest = hg_value_data_len(value) - block->value_sent;
            if (left < rest) {
                block->value_sent += left;
                return count;
            }
            left -= rest;
            out->pinned -= hg_value_data_len(value);
            hg_value_unref(value);
            block->segment_index++;
            block->value_sent = 0;
        } else {
            break;
        }
    }
    return count - left;
}

static bool block_is_sent(const struct hg_out_block *block)
{
    return block->segment_index == block->segment_count && block->sent == block->len;
}

void hg_out_consume(struct hg_out *out, struct hg_out_pool *pool, size_t count)
{
    assert(count <= out->bytes);
    out->bytes -= count;
    while (out->head != NULL) {
        struct hg_out_block *block = out->head;
        count -= block_consume(out, block, count);
        if (!block_is_sent(block))
            return;
        out->head = block->next;
        if (out->head == NULL)
            out->tail = NULL;
        block_give(pool, block);
    }
}

void hg_out_clear(struct hg_out *out, struct hg_out_pool *pool)
{
    hg_out_consume(out, pool, out->bytes);
    assert(out->head == NULL);
    assert(out->pinned == 0);
}
