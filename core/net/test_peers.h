/*
 * test_peers - for the tests of peers and peer_ask: a node that asks, and another, which is our server with a handler
 * that plays it. The test stands in for the read path.
 */
#ifndef HG_NET_TEST_PEERS_H
#define HG_NET_TEST_PEERS_H

#include "net/peers.h"

#include "base/hash.h"
#include "net/listener.h"
#include "net/server.h"
#include "net/test_support.h"
#include "wire/grpc.h"
#include "wire/peer_many.h"
#include "wire/query.h"

#define TIMEOUT_MS 400

static enum hg_transport test_transport; /* that of the configuration */

/* What the read path would be told; this test stands in for it. */
struct told {
    unsigned calls;
    enum hg_ask_outcome outcome;
    struct hg_ask_answer answer;
    uint64_t at_ms;
    char data[256];
};
struct hg_load_in_test {
    struct told told;
    struct hg_load load;
};

void hg_load_asked(struct hg_load *load, const struct hg_ask_answer *answer, uint64_t now_ms,
                   struct hg_loop *here)
{
    struct told *told = &hg_container_of(load, struct hg_load_in_test, load)->told;
    assert_non_null(here);
    told->calls++;
    told->outcome = answer->outcome;
    told->answer = *answer;
    told->at_ms = now_ms;
    assert_true((answer->outcome == HG_ASK_TYPED) == (answer->result != NULL));
    if (answer->result != NULL) {
        struct hg_bytes data = hg_value_data(answer->result);
        snprintf(told->data, sizeof(told->data), "%.*s", (int)data.len, data.data);
        assert_true(hg_bytes_eq(hg_value_key(answer->result), load->flight.key));
        hg_value_unref(answer->result);
    }
}

/* The other node: our server with a handler that plays it. */
struct world {
    struct hg_loop loop;
    struct hg_server *server;
    struct hg_listener *listener;
    struct hg_peers_config config;
    struct hg_peer_client *client;
    struct hg_peer *peer;
    struct hg_exchange *slow[256];
    unsigned slow_count, asks, probes;
    bool server_closed, client_closed;
    bool answers_probes;
    struct hg_exchange *many[4]; /* messages of many keys that were begun; NULL once it has gone */
    unsigned many_count, many_keys;
    int many_status; /* what it says to those; 0: it takes them */
    char many_last[4096]; /* the keys of the last one, each with a space behind it */
    struct hg_peer_request last; /* of an ask; spans are dead, counts and numbers are not */
    char last_origin[64], last_authorization[64], last_path[4096];
    size_t last_chain_len[HG_CHAIN_MAX];
};

static inline bool is_grpc(const struct hg_exchange *exchange)
{
    return hg_bytes_eq(hg_http1_field(exchange->request, "content-type"),
                       HG_BYTES("application/grpc"));
}

static inline void answer_grpc(struct hg_exchange *exchange, int status, struct hg_bytes body)
{
    struct hg_buf message;
    struct hg_reply reply = {.status = 200, .headers = HG_BYTES("content-type: application/grpc\r\n")};
    char prefix[HG_GRPC_PREFIX];
    hg_buf_init(&message, 1 << 20);
    if (status == 200) {
        hg_grpc_prefix_write(body.len, prefix);
        assert_int_equal(hg_buf_append(&message, prefix, sizeof(prefix)), HG_OK);
        assert_int_equal(hg_buf_append_bytes(&message, body), HG_OK);
        reply.trailers = HG_BYTES("grpc-status: 0\r\n");
    } else {
        reply.trailers = HG_BYTES("grpc-status: 2\r\ngrpc-message: no\r\n");
        reply.no_length = true;
    }
    reply.body = hg_buf_bytes(&message);
    hg_exchange_answer(exchange, &reply);
    hg_buf_finish(&message);
}

static inline void answer_bytes(struct hg_exchange *exchange, int status, struct hg_bytes body)
{
    if (is_grpc(exchange)) {
        answer_grpc(exchange, status, body);
        return;
    }
    struct hg_reply reply = {.status = status, .body = body};
    hg_exchange_answer(exchange, &reply);
}

static inline void encode_value(struct hg_buf *body, const char *key, const char *data)
{
    struct hg_peer_response response = {
        .status = HG_STATUS_VALUE,
        .value = hg_bytes_str(data),
        .has_ttl = true,
        .ttl_ms = 1500,
        .age_ms = 20,
        .has_key_hash = true,
        .key_hash = hg_xxh64(hg_bytes_str(key)),
        .minute_qps = 3,
    };
    hg_buf_init(body, 1 << 20);
    assert_int_equal(hg_peer_response_encode(&response, body), HG_OK);
}

static inline void answer_value(struct hg_exchange *exchange, const char *key, const char *data)
{
    struct hg_buf body;
    encode_value(&body, key, data);
    answer_bytes(exchange, 200, hg_buf_bytes(&body));
    hg_buf_finish(&body);
}

static inline void note_request(struct world *world, const struct hg_http1_request *request)
{
    char decoded[4096];
    size_t len;
    void *owner;
    if (hg_bytes_has_prefix(request->path, HG_BYTES("/hgcache.cache."))) {
        struct hg_bytes message;
        assert_true(hg_bytes_eq(request->path, HG_BYTES("/hgcache.cache.GroupCache/Get")));
        assert_int_equal(hg_grpc_message_read(request->body, 4096, &message), HG_OK);
        memcpy(decoded, message.data, len = message.len);
    } else {
        assert_non_null(request->peer_request.data);
        assert_int_equal(hg_base64_decode(request->peer_request, decoded, &len), HG_OK);
    }
    snprintf(world->last_path, sizeof(world->last_path), "%.*s", (int)request->path.len,
             request->path.data);
    snprintf(world->last_authorization, sizeof(world->last_authorization), "%.*s",
             (int)request->authorization.len, request->authorization.data);
    assert_int_equal(hg_peer_request_decode(hg_bytes(decoded, len), &world->last, &owner), HG_OK);
    if (world->last.key.len > 0 || hg_bytes_has_prefix(request->path, HG_BYTES("/hgcache."))) {
        struct hg_buf path; /* as it would be over HTTP */
        hg_buf_init(&path, 4096);
        assert_int_equal(hg_peer_path_encode(&path, HG_BYTES("/_hgcache/"), world->last.group,
                                             world->last.key),
                         HG_OK);
        snprintf(world->last_path, sizeof(world->last_path), "%.*s", (int)path.len, path.data);
        hg_buf_finish(&path);
        char text[HG_GRPC_TIMEOUT_SIZE];
        assert_int_equal(hg_http1_field(request, "grpc-timeout").len,
                         hg_grpc_timeout_write(world->last.deadline_ms, text));
    }
    snprintf(world->last_origin, sizeof(world->last_origin), "%.*s", (int)world->last.origin.len,
             world->last.origin.data);
    for (size_t i = 0; i < world->last.chain_count; i++)
        world->last_chain_len[i] = world->last.chain[i].len;
    hg_peer_message_free(owner);
}

static inline void on_many(struct world *world, struct hg_exchange *exchange)
{
    struct hg_bytes message = exchange->request->body, part;
    struct hg_reply reply = {.status = 200};
    note_request(world, exchange->request);
    world->many_last[0] = '\0';
    while (hg_peer_many_next(&message, &part) == HG_OK) {
        struct hg_peer_request request;
        void *owner = NULL;
        assert_int_equal(hg_peer_request_decode(part, &request, &owner), HG_OK);
        assert_true(hg_bytes_eq(request.group, HG_BYTES("g")));
        strncat(world->many_last, request.key.data, request.key.len);
        strcat(world->many_last, " ");
        world->many_keys++;
        hg_peer_message_free(owner);
    }
    assert_int_equal(message.len, 0);
    if (world->many_status != 0) {
        world->many_count++;
        answer_bytes(exchange, world->many_status, HG_BYTES("no\n"));
        return;
    }
    struct hg_exchange *kept = hg_exchange_keep(exchange);
    world->many[world->many_count++ % 4] = kept;
    hg_exchange_begin(kept, &reply);
}

static inline void on_request(void *ctx, struct hg_exchange *exchange)
{
    struct world *world = ctx;
    const struct hg_http1_request *request = exchange->request;
    if (request->method == HG_GET && hg_bytes_eq(request->path, HG_BYTES("/_hgcache/"))) {
        world->probes++;
        if (world->answers_probes)
            answer_bytes(exchange, 404, HG_BYTES("no such group\n"));
        else
            hg_exchange_keep(exchange); /* dropped by gone */
        return;
    }
    if (hg_bytes_eq(request->query, HG_BYTES("many"))) {
        on_many(world, exchange);
        return;
    }
    if (request->method != HG_GET && !is_grpc(exchange)) {
        answer_bytes(exchange, 200, hg_http1_field(request, "Hgcache-Origin"));
        return;
    }
    world->asks++;
    note_request(world, request);
    struct hg_bytes key = hg_bytes_str(world->last_path + 12);
    if (hg_bytes_eq(key, HG_BYTES("typed")))
        answer_value(exchange, "typed", "the value");
    else if (hg_bytes_eq(key, HG_BYTES("bare")))
        answer_bytes(exchange, 500, HG_BYTES("getter failed\n"));
    else if (hg_bytes_eq(key, HG_BYTES("garbage")))
        answer_bytes(exchange, 200, HG_BYTES("\xff\xff\xff\xff\xff"));
    else if (hg_bytes_eq(key, HG_BYTES("wrong")))
        answer_value(exchange, "another", "not yours");
    else
        world->slow[world->slow_count++] = hg_exchange_keep(exchange);
}

static inline void on_gone(void *ctx, struct hg_exchange *exchange)
{
    struct world *world = ctx;
    for (unsigned i = 0; i < world->slow_count; i++) {
        if (world->slow[i] == exchange)
            world->slow[i] = NULL;
    }
    for (unsigned i = 0; i < HG_COUNT(world->many); i++) {
        if (world->many[i] == exchange)
            world->many[i] = NULL;
    }
    hg_exchange_drop(exchange);
}

static inline void on_accept(void *ctx, int fd, unsigned roles)
{
    hg_server_adopt(((struct world *)ctx)->server, fd, roles);
}

static inline struct hg_peer *make_peer(struct world *world, uint16_t port)
{
    char name[64], error[128];
    struct hg_peer *peer;
    snprintf(name, sizeof(name), "http://127.0.0.1:%u", (unsigned)port);
    assert_int_equal(
        hg_peer_create(hg_bytes_str(name), &world->config, &peer, error, sizeof(error)), HG_OK);
    assert_string_equal(hg_peer_name(peer), name);
    return peer;
}

static inline struct world *world_open(void)
{
    static const struct hg_server_limits limits = {
        .http1 =
            {.line = 8192, .head = 16384, .fields = 100, .body = 1 << 20, .chunk_extension = 1024},
        .pipeline = 16,
    };
    static const struct hg_server_ops ops = {.request = on_request, .gone = on_gone};
    struct world *world = calloc(1, sizeof(*world));
    uint16_t port;
    world->answers_probes = true;
    world->config = (struct hg_peers_config){
        .self = "http://127.0.0.1:1",
        .base_path = "/_hgcache/",
        .transport = test_transport,
        .timeout_ms = TIMEOUT_MS,
        .message_max = 1 << 20,
        .token = "s3cret",
    };
    assert_int_equal(hg_loop_init(&world->loop, "test"), HG_OK);
    assert_int_equal(hg_server_create(&world->loop, &limits, &ops, world, &world->server), HG_OK);
    int fd = test_listen(&port);
    assert_int_equal(hg_listener_open(&world->loop, fd, 0, on_accept, world, &world->listener),
                     HG_OK);
    assert_int_equal(hg_peer_client_create(&world->loop, &world->config, &world->client), HG_OK);
    world->peer = make_peer(world, port);
    return world;
}

static inline void on_flag(void *ctx)
{
    *(bool *)ctx = true;
}

static inline void world_close_client(struct world *world)
{
    hg_peer_client_close(world->client, on_flag, &world->client_closed);
    test_wait(&world->loop, world->client_closed);
}

static inline void world_close(struct world *world)
{
    if (!world->client_closed)
        world_close_client(world);
    struct hg_peer_stats stats;
    hg_peer_stats(world->peer, &stats);
    assert_int_equal(stats.outstanding, 0);
    hg_listener_close(world->listener, NULL, NULL);
    if (!world->server_closed)
        hg_server_close(world->server, on_flag, &world->server_closed);
    test_wait(&world->loop, world->server_closed);
    hg_peer_destroy(world->peer);
    assert_int_equal(hg_loop_finish(&world->loop), 0);
    free(world);
}

static inline struct hg_load_in_test *make_load(struct world *world, const char *key,
                                         uint64_t deadline_in_ms)
{
    struct hg_load_in_test *load = calloc(1, sizeof(*load));
    load->load.flight.key = hg_bytes_str(key);
    load->load.deadline_ms = hg_clock_boot_ms() + deadline_in_ms;
    uv_update_time(&world->loop.uv);
    return load;
}

static inline struct hg_load_in_test *ask(struct world *world, struct hg_peer *peer, const char *key,
                                   uint64_t deadline_in_ms)
{
    struct hg_load_in_test *load = make_load(world, key, deadline_in_ms);
    assert_int_equal(hg_peer_client_ask(world->client, peer, &load->load, "g", 77), HG_OK);
    assert_int_equal(load->told.calls, 0);
    return load;
}

/* The tests of `main`, over each transport. */
static inline int run_over_transports(const struct CMUnitTest *tests, size_t count)
{
    static const char *const names[] = {"http", "grpc", "auto"};
    int failed = 0;
    for (size_t i = 0; i < HG_COUNT(names); i++) {
        test_transport = (enum hg_transport)i;
        failed += _cmocka_run_group_tests(names[i], tests, count, NULL, NULL);
    }
    return failed;
}

#endif
