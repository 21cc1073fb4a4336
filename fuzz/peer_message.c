/* Messages of peers: what decodes comes out the same after another round; what does not leaves nothing behind. */
#include "cluster/answer.h"
#include "cluster/changes.h"
#include "fuzz.h"
#include "wire/peer_many.h"

static void requests(struct hg_bytes message)
{
    struct hg_peer_request request, again;
    void *owner = NULL, *second = NULL;
    struct hg_buf buf;

    int err = hg_peer_request_decode(message, &request, &owner);
    must(err == HG_OK || err == HG_EPROTO || err == HG_ELIMIT);
    if (err < 0)
        return;
    hg_buf_init(&buf, SIZE_MAX);
    must(hg_peer_request_encode(&request, &buf) == HG_OK);
    must(hg_peer_request_decode(hg_buf_bytes(&buf), &again, &second) == HG_OK);
    must(hg_bytes_eq(request.group, again.group) && hg_bytes_eq(request.key, again.key) &&
         hg_bytes_eq(request.origin, again.origin));
    must(request.deadline_ms == again.deadline_ms && request.ring == again.ring &&
         request.wire_version == again.wire_version && request.chain_count == again.chain_count);
    for (size_t i = 0; i < request.chain_count; i++)
        must(hg_bytes_eq(request.chain[i], again.chain[i]));
    hg_peer_message_free(owner);
    hg_peer_message_free(second);
    hg_buf_finish(&buf);
}

static void responses(struct hg_bytes message)
{
    struct hg_peer_response response, again;
    void *owner = NULL, *second = NULL;
    struct hg_buf buf;

    int err = hg_peer_response_decode(message, &response, &owner);
    must(err == HG_OK || err == HG_EPROTO || err == HG_ELIMIT);
    if (err < 0)
        return;
    must(response.status <= HG_STATUS_NO_GROUP && response.tag_count <= HG_TAGS_MAX);
    hg_buf_init(&buf, SIZE_MAX);
    must(hg_peer_response_encode(&response, &buf) == HG_OK);
    must(hg_peer_response_decode(hg_buf_bytes(&buf), &again, &second) == HG_OK);
    must(response.status == again.status && response.ttl_ms == again.ttl_ms &&
         response.has_ttl == again.has_ttl && response.age_ms == again.age_ms &&
         response.version == again.version && response.key_hash == again.key_hash &&
         response.tag_count == again.tag_count && response.expire_unix_ns == again.expire_unix_ns);
    must(hg_bytes_eq(response.value, again.value) && hg_bytes_eq(response.type, again.type) &&
         hg_bytes_eq(response.etag, again.etag) && hg_bytes_eq(response.meta, again.meta));
    struct hg_value *value = hg_peer_response_to_value(&response, HG_BYTES("key"));
    if (value != NULL) {
        must(hg_bytes_eq(hg_value_key(value), HG_BYTES("key")));
        hg_peer_response_from_value(value, 0, false, 0, &again);
        must(again.tag_count == response.tag_count);
    }
    hg_value_unref(value);
    hg_peer_message_free(owner);
    hg_peer_message_free(second);
    hg_buf_finish(&buf);
}

static void answers(struct hg_bytes message, unsigned how)
{
    static const int statuses[] = {200, 404, 500, 503};
    struct hg_ask_answer answer = {.outcome = HG_ASK_DEADLINE};

    int err = hg_answer_from_http(statuses[how % 4], message, HG_BYTES("k"), 1700000000000000000u,
                                  &answer);
    must(err == HG_OK || err == HG_ENOMEM); /* parts over their maxima say ENOMEM, too */
    if (err < 0)
        return;
    must(answer.outcome == HG_ASK_TYPED || answer.result == NULL);
    must(answer.outcome != HG_ASK_TYPED || hg_bytes_eq(hg_value_key(answer.result), HG_BYTES("k")));
    must(answer.outcome != HG_ASK_DEADLINE);
    hg_value_unref(answer.result);
}

static void changes(struct hg_bytes message)
{
    static struct hg_peer_changes many;
    struct hg_peer_change change, again;
    void *owner = NULL, *second = NULL;
    struct hg_buf buf;

    hg_buf_init(&buf, SIZE_MAX);
    if (hg_peer_change_decode(message, &change, &owner) == HG_OK) {
        must(hg_peer_change_encode(&change, &buf) == HG_OK);
        must(hg_peer_change_decode(hg_buf_bytes(&buf), &again, &second) == HG_OK);
        must(again.op == change.op && hg_bytes_eq(again.name, change.name));
        hg_peer_message_free(second);
        hg_peer_message_free(owner);
    }
    owner = NULL;
    hg_buf_clear(&buf);
    if (hg_peer_changes_decode(message, &many, &owner) == HG_OK) {
        must(many.count <= HG_PEER_CHANGES_MAX);
        must(hg_peer_changes_encode(&many, &buf) == HG_OK);
        hg_peer_message_free(owner);
    }
    hg_buf_finish(&buf);
}

/* Part by part it is what it is as a whole, and what is read is written back as the same bytes, but for longer heads. */
static void parts(struct hg_bytes message)
{
    struct hg_bytes rest = message, part;
    struct hg_buf buf;
    size_t count = 0, taken = 0;
    int err = hg_peer_many_count(message, HG_MANY_KEYS_MAX, &count);

    must(err == HG_OK || err == HG_EPROTO || err == HG_ELIMIT);
    hg_buf_init(&buf, SIZE_MAX);
    while (hg_peer_many_next(&rest, &part) == HG_OK) {
        struct hg_peer_request request;
        struct hg_peer_response response;
        void *owner = NULL;
        must(part.data >= message.data && part.data + part.len <= message.data + message.len);
        taken++;
        if (hg_peer_request_decode(part, &request, &owner) == HG_OK)
            must(hg_peer_asks_append(&request, &buf) == HG_OK);
        hg_peer_message_free(owner);
        owner = NULL;
        if (hg_peer_response_decode(part, &response, &owner) == HG_OK && response.number == 0) {
            must(hg_peer_answers_append(part, 1 + (uint32_t)taken, &buf) == HG_OK);
            struct hg_bytes last = hg_buf_bytes(&buf), again = HG_BYTES_NONE;
            while (hg_peer_many_next(&last, &again) == HG_OK)
                ;
            void *second = NULL;
            must(hg_peer_response_decode(again, &response, &second) == HG_OK);
            must(response.number == 1 + (uint32_t)taken);
            hg_peer_message_free(second);
        }
        hg_peer_message_free(owner);
        hg_buf_clear(&buf);
    }
    must(err != HG_OK || (taken == count && rest.len == 0));
    must(err != HG_ELIMIT || taken > HG_MANY_KEYS_MAX);
    hg_buf_finish(&buf);
}

static void places(struct hg_bytes text)
{
    struct hg_changes_place place, again;
    struct hg_buf buf;
    if (hg_changes_place_parse(text, &place) < 0)
        return;
    hg_buf_init(&buf, SIZE_MAX);
    must(hg_changes_place_format(&place, &buf) == HG_OK);
    must(hg_changes_place_parse(hg_buf_bytes(&buf), &again) == HG_OK);
    must(place.is_now == again.is_now && (place.is_now || place.number == again.number));
    hg_buf_finish(&buf);
}

static void paths(struct hg_bytes path)
{
    struct hg_bytes group, key, group_again, key_again;
    char *out = malloc(path.len + 1);
    struct hg_buf buf;

    must(out != NULL);
    int err = hg_peer_path_decode(path, out, &group, &key);
    must(err == HG_OK || err == HG_EPROTO);
    if (err == HG_OK) {
        must(group.len > 0);
        hg_buf_init(&buf, SIZE_MAX);
        must(hg_peer_path_encode(&buf, HG_BYTES("/"), group, key) == HG_OK);
        char *second = malloc(buf.len);
        must(second != NULL);
        must(hg_peer_path_decode(hg_bytes(buf.data + 1, buf.len - 1), second, &group_again,
                                 &key_again) == HG_OK);
        must(hg_bytes_eq(group, group_again) && hg_bytes_eq(key, key_again));
        free(second);
        hg_buf_finish(&buf);
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t live = hg_alloc_live_count();
    char *copy = fuzz_copy(hg_bytes(data + 1, size - 1));
    struct hg_bytes message = hg_bytes(copy, size - 1);
    switch (data[0] % 7) {
    case 0:
        requests(message);
        break;
    case 1:
        responses(message);
        break;
    case 2:
        answers(message, data[0] / 7);
        break;
    case 4:
        changes(message);
        break;
    case 5:
        places(message);
        break;
    case 6:
        parts(message);
        break;
    default:
        paths(message);
        break;
    }
    free(copy);
    must(hg_alloc_live_count() == live);
    return 0;
}
