/*
 * peer_call - asks as they travel: a gRPC Get, GET <group>/<key> or POST ?many, and what comes of them.
 */
#include "net/peer_call.h"

#include <limits.h>

#include "cluster/answer.h"
#include "net/clock.h"
#include "wire/grpc.h"
#include "wire/query.h"

#define HEADER_MAX 65536
/* What libcurl may read at one go, before any of it is used: a hundred buffers of 16 KiB, and some. */
#define BURST_MAX ((size_t)4 << 20)

static const char MANY_QUERY[] = "?many";
static const char GRPC_PATH[] = "/hgcache.cache.GroupCache/Get";
#define TIMEOUT_HEADER "grpc-timeout: "

uint64_t hg_peer_wall_ns(void)
{
    return (uint64_t)(hg_clock_wall_s() * 1e9);
}

/* --- answers --- */

/*
 * A body that just ends with its connection may have been cut anywhere, and a cut message may still
 * decode.
 */
bool hg_peer_answer_is_framed(const struct hg_fetch_response *response)
{
    return response->is_http2 || hg_fetch_header(response, "Content-Length").len > 0 ||
           hg_fetch_header(response, "Transfer-Encoding").len > 0;
}

/* Trailers, or the head of an answer that is nothing but trailers. */
static struct hg_bytes grpc_field(const struct hg_fetch_response *response, const char *name)
{
    struct hg_fetch_response trailers = {.headers = response->trailers};
    return hg_fetch_header(response->trailers.len > 0 ? &trailers : response, name);
}

int hg_peer_answer_read(const struct hg_peer_call *call, const struct hg_fetch_response *response,
                        struct hg_ask_answer *out_answer)
{
    struct hg_bytes key = call->ask->common.load->flight.key;
    unsigned long long code;
    if (!call->is_grpc)
        return hg_answer_from_http(response->status, response->body, key, hg_peer_wall_ns(),
                                   out_answer);
    bool is_code = hg_bytes_to_u64(grpc_field(response, "grpc-status"), &code) && code <= INT_MAX;
    return hg_answer_from_grpc(response->status, is_code ? (int)code : -1,
                               grpc_field(response, "hgcache-response-bin"), response->body, key,
                               hg_peer_wall_ns(), out_answer);
}

bool hg_peer_answer_is_grpc(const struct hg_fetch_response *response)
{
    return hg_grpc_is_content_type(hg_fetch_header(response, "Content-Type"));
}

/* --- requests --- */

int hg_peer_split_chain(struct hg_bytes chain, struct hg_peer_request *request)
{
    while (chain.len > 0) {
        if (chain.len < 2)
            return HG_EINVAL;
        const unsigned char *at = (const unsigned char *)chain.data;
        size_t len = (size_t)at[0] << 8 | at[1];
        if (len > chain.len - 2)
            return HG_EINVAL;
        if (request->chain_count == HG_CHAIN_MAX)
            return HG_ELIMIT;
        request->chain[request->chain_count++] = hg_bytes(chain.data + 2, len);
        chain = hg_bytes(chain.data + 2 + len, chain.len - 2 - len);
    }
    return HG_OK;
}

static int write_alone_url(const struct hg_peer_client *client, const struct hg_peer *peer,
                           const struct hg_ask *ask, struct hg_buf *url)
{
    int err = hg_buf_append_str(url, hg_peer_base_url(peer));
    if (err == HG_OK)
        err = hg_peer_path_encode(url, hg_bytes_str(client->config->base_path), ask->group,
                                  ask->load->flight.key);
    return err == HG_OK ? hg_buf_append_char(url, '\0') : err;
}

static int write_many_url(const struct hg_peer_client *client, const struct hg_peer *peer,
                          struct hg_buf *url)
{
    int err = hg_buf_append_str(url, hg_peer_base_url(peer));
    if (err == HG_OK)
        err = hg_buf_append_str(url, client->config->base_path);
    return err == HG_OK ? hg_buf_append(url, MANY_QUERY, sizeof(MANY_QUERY)) : err;
}

/* remaining_ms 0: not told here. */
static int write_request(const struct hg_peer_ask *ask, uint64_t remaining_ms, bool has_key,
                         struct hg_buf *message)
{
    struct hg_peer_request request = {
        .group = has_key ? ask->common.group : HG_BYTES_NONE,
        .key = has_key ? ask->common.load->flight.key : HG_BYTES_NONE,
        .deadline_ms = remaining_ms == HG_FOREVER ? 0 : remaining_ms,
        .origin = hg_bytes_str(ask->member->client->config->self),
        .ring = ask->ring,
        .wire_version = HG_WIRE_VERSION,
        .is_peek = hg_load_asks_store(ask->common.load) && remaining_ms != 0, /* of one that goes alone */
    };
    int err = hg_peer_split_chain(ask->common.load->chain, &request);
    return err == HG_OK ? hg_peer_request_encode(&request, message) : err;
}

static int write_request_header(const struct hg_peer_ask *ask, uint64_t remaining_ms,
                                struct hg_buf *header)
{
    struct hg_buf message;
    hg_buf_init(&message, HEADER_MAX / 2);
    int err = write_request(ask, remaining_ms, false, &message);
    if (err == HG_OK)
        err = hg_buf_append_str(header, "Hgcache-Request: ");
    if (err == HG_OK)
        err = hg_base64_encode(header, hg_buf_bytes(&message));
    if (err == HG_OK)
        err = hg_buf_append_char(header, '\0');
    hg_buf_finish(&message);
    return err;
}

static uint64_t remaining_of(const struct hg_peer_ask *ask, uint64_t now_ms)
{
    uint64_t deadline_ms = ask->common.load->deadline_ms;
    return deadline_ms == HG_FOREVER ? HG_FOREVER : deadline_ms - now_ms;
}

int hg_peer_call_grpc(struct hg_peer_call *call, hg_fetch_fn done, uint64_t now_ms)
{
    struct hg_peer_client *client = call->member->client;
    const struct hg_peer_ask *ask = call->ask;
    uint64_t remaining_ms = remaining_of(ask, now_ms);
    char timeout[sizeof(TIMEOUT_HEADER) + HG_GRPC_TIMEOUT_SIZE] = TIMEOUT_HEADER;
    struct hg_buf url, message;
    hg_buf_init(&url, HG_PEER_URL_MAX);
    hg_buf_init(&message, HG_GRPC_PREFIX + 2 * HEADER_MAX);

    int err = hg_buf_append_str(&url, hg_peer_base_url(call->member->peer));
    if (err == HG_OK)
        err = hg_buf_append(&url, GRPC_PATH, sizeof(GRPC_PATH));
    if (err == HG_OK)
        err = hg_buf_append(&message, "\0\0\0\0\0", HG_GRPC_PREFIX);
    if (err == HG_OK)
        err = write_request(ask, remaining_ms, true, &message);
    if (err == HG_OK) {
        const char *headers[6] = {"content-type: application/grpc", "te: trailers"};
        size_t count = 2;
        if (remaining_ms != HG_FOREVER) {
            size_t len = hg_grpc_timeout_write(remaining_ms, timeout + sizeof(TIMEOUT_HEADER) - 1);
            timeout[sizeof(TIMEOUT_HEADER) - 1 + len] = '\0';
            headers[count++] = timeout;
        }
        headers[count] = hg_peer_client_authorization(client);
        hg_grpc_prefix_write(message.len - HG_GRPC_PREFIX, message.data);
        struct hg_fetch_options options = {
            .method = "POST",
            .url = url.data,
            .headers = headers,
            .body = hg_buf_bytes(&message),
            .timeout_ms = hg_time_add(remaining_ms, HG_ASK_SLACK_MS),
            .body_max = client->config->message_max,
        };
        call->is_grpc = true;
        err = hg_peer_member_start(call->member, call->lane, true, true, &options, done, call,
                                   &call->sent);
    }
    hg_buf_finish(&url);
    hg_buf_finish(&message);
    return err;
}

int hg_peer_call_http(struct hg_peer_call *call, hg_fetch_connected_fn connected, hg_fetch_fn done,
                      uint64_t now_ms)
{
    struct hg_peer_client *client = call->member->client;
    const struct hg_peer_ask *ask = call->ask;
    uint64_t remaining_ms = remaining_of(ask, now_ms);
    struct hg_buf url, header;
    hg_buf_init(&url, HG_PEER_URL_MAX);
    hg_buf_init(&header, HEADER_MAX);

    int err = write_alone_url(client, call->member->peer, &ask->common, &url);
    if (err == HG_OK)
        err = write_request_header(ask, remaining_ms, &header);
    if (err == HG_OK) {
        const char *headers[] = {header.data, hg_peer_client_authorization(client), NULL};
        struct hg_fetch_options options = {
            .url = url.data,
            .headers = headers,
            .timeout_ms = hg_time_add(remaining_ms, HG_ASK_SLACK_MS),
            .body_max = client->config->message_max,
            .connected = connected,
        };
        err = hg_peer_member_start(call->member, call->lane, false, false, &options, done, call,
                                   &call->sent);
    }
    hg_buf_finish(&url);
    hg_buf_finish(&header);
    return err;
}

/* Until the last of them has had its time. */
static uint64_t many_remaining_ms(const struct hg_many *many, uint64_t now_ms)
{
    uint64_t last_ms = now_ms;
    for (size_t i = 0; i < many->count; i++) {
        uint64_t deadline_ms = many->asks[i]->load->deadline_ms;
        if (deadline_ms > last_ms)
            last_ms = deadline_ms;
    }
    return last_ms == HG_FOREVER ? HG_FOREVER : last_ms - now_ms;
}

int hg_peer_call_many(struct hg_peer_call *call, bool over_http2, hg_fetch_connected_fn connected,
                      hg_fetch_data_fn data, hg_fetch_fn done, uint64_t now_ms)
{
    struct hg_peer_client *client = call->member->client;
    const struct hg_peer_ask *first = hg_peer_ask_of(call->many->asks[0]);
    struct hg_buf url, header, body;
    hg_buf_init(&url, HG_PEER_URL_MAX);
    hg_buf_init(&header, HEADER_MAX);
    hg_buf_init(&body, HG_MANY_BYTES_MAX);

    int err = write_many_url(client, call->member->peer, &url);
    if (err == HG_OK)
        err = write_request_header(first, 0, &header);
    if (err == HG_OK)
        err = hg_many_encode(call->many, now_ms, &body);
    if (err == HG_OK) {
        const char *headers[] = {header.data, "Content-Type: application/x-protobuf",
                                 hg_peer_client_authorization(client), NULL};
        struct hg_fetch_options options = {
            .method = "POST",
            .url = url.data,
            .headers = headers,
            .body = hg_buf_bytes(&body),
            .timeout_ms = hg_time_add(many_remaining_ms(call->many, now_ms), HG_ASK_SLACK_MS),
            .body_max = client->config->message_max + BURST_MAX,
            .connected = connected,
            .data = data,
        };
        err = hg_peer_member_start(call->member, call->lane, over_http2, false, &options, done,
                                   call, &call->sent);
    }
    hg_buf_finish(&url);
    hg_buf_finish(&header);
    hg_buf_finish(&body);
    return err;
}
