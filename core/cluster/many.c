#include "cluster/many.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/bug.h"
#include "base/err.h"
#include "cluster/answer.h"

#define ASK_BYTES 32 /* of an encoded ask beside its group and key */

static struct hg_ask *ask_of(struct hg_list *link)
{
    return hg_container_of(link, struct hg_ask, link);
}

static size_t ask_bytes(const struct hg_ask *ask)
{
    return ASK_BYTES + ask->load->flight.key.len + ask->group.len;
}

size_t hg_asks_take(struct hg_list *waiting, size_t keys_max, size_t bytes_max, struct hg_list *out)
{
    struct hg_list *first = hg_list_pop_front(waiting);
    size_t count = 1;

    if (first == NULL)
        return 0;
    hg_list_push_back(out, first);
    if (ask_of(first)->is_alone)
        return count;
    struct hg_bytes chain = ask_of(first)->load->chain;
    size_t bytes = ask_bytes(ask_of(first));
    hg_list_for_each_safe(it, waiting)
    {
        struct hg_ask *ask = ask_of(it);
        size_t more = ask_bytes(ask);
        if (count >= keys_max || bytes + more > bytes_max)
            break;
        if (ask->is_alone || !hg_bytes_eq(ask->load->chain, chain))
            continue;
        hg_list_remove(it);
        hg_list_push_back(out, it);
        bytes += more;
        count++;
    }
    return count;
}

struct hg_many *hg_many_create(struct hg_list *asks, size_t count, size_t part_max)
{
    struct hg_many *many = hg_calloc(1, sizeof(*many) + count * sizeof(struct hg_ask *));
    if (many == NULL)
        return NULL;
    many->part_max = part_max;
    hg_list_init(&many->pending);
    hg_list_splice_back(&many->pending, asks);
    hg_list_for_each(it, &many->pending)
    {
        struct hg_ask *ask = ask_of(it);
        many->asks[many->count++] = ask;
        ask->number = (uint32_t)many->count;
    }
    assert(many->count == count);
    many->pending_count = count;
    return many;
}

void hg_many_destroy(struct hg_many *many)
{
    assert(many == NULL || many->pending_count == 0 || hg_bug(HG_BUG_MANY_CUT));
    hg_free(many);
}

void hg_many_undo(struct hg_many *many, struct hg_list *asks)
{
    if (many != NULL)
        hg_list_splice_back(asks, &many->pending);
    hg_free(many);
}

int hg_many_encode(const struct hg_many *many, uint64_t now_ms, struct hg_buf *buf)
{
    for (size_t i = 0; i < many->count; i++) {
        const struct hg_load *load = many->asks[i]->load;
        uint64_t deadline_ms = load->deadline_ms;
        struct hg_peer_request request = {
            .group = many->asks[i]->group,
            .key = load->flight.key,
            .is_peek = hg_load_asks_store(load),
        };
        if (deadline_ms != HG_FOREVER)
            request.deadline_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 1;
        int err = hg_peer_asks_append(&request, buf);
        if (err < 0)
            return err;
    }
    return HG_OK;
}

void hg_many_drop(struct hg_many *many, struct hg_ask *ask)
{
    many->asks[ask->number - 1] = NULL;
    many->pending_count--;
    hg_list_remove(&ask->link);
}

/* One part. False: it is none of an Answers. */
static bool take_part(struct hg_many *many, struct hg_bytes part, uint64_t now_unix_ns,
                      hg_many_landed_fn landed, void *ctx)
{
    struct hg_peer_response response;
    struct hg_ask_answer answer = {.outcome = HG_ASK_TRANSPORT};
    void *owner = NULL;

    int err = hg_peer_response_decode(part, &response, &owner);
    if (err == HG_ENOMEM)
        return true; /* whose it was is not known: it counts as left out */
    if (err < 0)
        return false;
    uint32_t number = response.number;
    if (hg_bug(HG_BUG_MANY_NUMBER) && number < many->count)
        number++;
    if (number == 0 || number > many->count) {
        hg_peer_message_free(owner);
        return false;
    }
    struct hg_ask *ask = many->asks[number - 1];
    if (ask != NULL &&
        hg_answer_from_response(&response, ask->load->flight.key, now_unix_ns, &answer) < 0)
        answer = (struct hg_ask_answer){.outcome = HG_ASK_TRANSPORT};
    hg_peer_message_free(owner);
    if (ask == NULL)
        return true;
    hg_many_drop(many, ask);
    landed(ctx, ask, &answer);
    return true;
}

size_t hg_many_feed(struct hg_many *many, struct hg_bytes bytes, uint64_t now_unix_ns,
                    hg_many_landed_fn landed, void *ctx)
{
    size_t at = 0;

    while (at < bytes.len && !many->is_garbage) {
        struct hg_bytes rest = hg_bytes(bytes.data + at, bytes.len - at);
        size_t head_len, part_len;
        if (many->skip > 0) {
            size_t len = rest.len < many->skip ? rest.len : many->skip;
            many->skip -= len;
            at += len;
            continue;
        }
        int err = hg_peer_many_head(rest, &head_len, &part_len);
        if (err == HG_PENDING)
            break;
        if (err == HG_OK && part_len > many->part_max) {
            many->skip = part_len;
            at += head_len;
            continue;
        }
        if (err == HG_OK && part_len > rest.len - head_len)
            break;
        many->is_garbage = err < 0 || !take_part(many, hg_bytes(rest.data + head_len, part_len),
                                                 now_unix_ns, landed, ctx);
        at += many->is_garbage ? 0 : head_len + part_len;
    }
    return many->is_garbage ? bytes.len : at;
}

bool hg_many_end(struct hg_many *many, bool is_whole, struct hg_bytes rest)
{
    many->is_cut = !is_whole || many->is_garbage || many->skip > 0 || rest.len > 0;
    return !many->is_cut;
}

struct hg_ask *hg_many_pop(struct hg_many *many)
{
    if (hg_list_is_empty(&many->pending) || (hg_bug(HG_BUG_MANY_CUT) && many->is_cut))
        return NULL;
    struct hg_ask *ask = ask_of(many->pending.next);
    hg_many_drop(many, ask);
    return ask;
}
