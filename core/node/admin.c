/*
 * The admin listener: /live /ready /metrics /stats /ring /hot /explain /keys; in admin_write.c /flush /tags, in admin_reload.c /reload /drain. No CORS, no GET with effect (but for &load=1, which is what
 * any client could do), Host from an allow-list against DNS rebinding, tokens where configured.
 */
#include <stdio.h>
#include "base/alloc.h"
#include "cluster/answer.h"
#include "node/node_impl.h"
#include "wire/query.h"
#include "wire/reply.h"

const char *hg_node_not_ready(const struct hg_node *node)
{
    int phase = atomic_load_explicit(&node->phase, memory_order_relaxed);
    if (phase == HG_NODE_STARTING)
        return "starting";
    if (phase != HG_NODE_SERVING)
        return "draining";
    const struct hg_view *view = hg_node_view(node);
    if (view == NULL)
        return "";
    if (!hg_node_members_are_known(node))
        return "the members of the cluster are not known yet";
    size_t up = 1;
    for (size_t i = 0; i < hg_ring_member_count(view->ring); i++)
        up += i != (size_t)view->self && hg_peer_is_up(view->peers[i]);
    return up < node->config->min_peers ? "fewer peers are up than cluster.min_peers" : "";
}

void hg_admin_answer(struct hg_front *front, struct hg_exchange *exchange, int status,
                     const char *type, const struct hg_buf *body)
{
    hg_buf_clear(&front->headers);
    hg_buf_printf(&front->headers, "Content-Type: %s\r\nCache-Control: no-store\r\n", type);
    struct hg_reply reply = {.status = status,
                             .headers = hg_buf_bytes(&front->headers),
                             .body = hg_buf_bytes(body),
                             .is_head = exchange->request->method == HG_HEAD};
    hg_exchange_answer(exchange, &reply);
}

void hg_admin_text(struct hg_front *front, struct hg_exchange *exchange, int status,
                   const char *text)
{
    hg_buf_clear(&front->body);
    hg_buf_append_str(&front->body, text);
    hg_buf_append_char(&front->body, '\n');
    hg_admin_answer(front, exchange, status, "text/plain; charset=utf-8", &front->body);
}

/* A body that some page made, or why it could not. */
static void answer_page(struct hg_front *front, struct hg_exchange *exchange, int err,
                        const char *type)
{
    if (err < 0)
        hg_admin_text(front, exchange, 503, hg_err_text(err));
    else
        hg_admin_answer(front, exchange, 200, type, &front->body);
}

/* The host part of a Host field: without the port. */
static struct hg_bytes host_name(struct hg_bytes host)
{
    if (host.len > 0 && host.data[0] == '[') {
        const char *end = memchr(host.data, ']', host.len);
        return end == NULL ? host : hg_bytes(host.data, (size_t)(end - host.data) + 1);
    }
    const char *colon = memchr(host.data, ':', host.len);
    return colon == NULL ? host : hg_bytes(host.data, (size_t)(colon - host.data));
}

/* 127.x.y.z and nothing like "127.evil.example". */
static bool is_loopback(struct hg_bytes name)
{
    unsigned dots = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] == '.')
            dots++;
        else if (name.data[i] < '0' || name.data[i] > '9')
            return false;
    }
    return dots == 3 && hg_bytes_has_prefix(name, HG_BYTES("127."));
}

static bool is_host_allowed(const struct hg_front *front, struct hg_bytes host)
{
    const struct hg_config *config = front->generation->config;
    struct hg_bytes name = host_name(host);
    static const char *const local[] = {"localhost", "[::1]", "unix", ""};
    for (size_t i = 0; i < HG_COUNT(local); i++) {
        if (hg_bytes_eq_nocase(name, hg_bytes_str(local[i])))
            return true;
    }
    if (is_loopback(name))
        return true;
    if (front->node->config->listen_admin != NULL &&
        hg_bytes_eq_nocase(name, host_name(hg_bytes_str(front->node->config->listen_admin))))
        return true;
    for (size_t i = 0; i < config->admin_hosts.count; i++) {
        struct hg_bytes allowed = config->admin_hosts.items[i];
        if (hg_bytes_eq_nocase(name, allowed) || hg_bytes_eq_nocase(host, allowed))
            return true;
    }
    return false;
}

/* A decoded query parameter; HG_ENOENT, HG_EINVAL (twice), HG_EPROTO. */
int hg_admin_parameter(const struct hg_http1_request *request, const char *name, char *out,
                       size_t size, size_t *out_len)
{
    struct hg_bytes raw;
    int err = hg_query_find(request->query, hg_bytes_str(name), &raw);
    if (err != HG_OK)
        return err;
    if (raw.len / 3 > size)
        return HG_ETOOBIG;
    char *space = hg_malloc(raw.len + 1);
    if (space == NULL)
        return HG_ENOMEM;
    size_t len;
    err = hg_percent_decode(raw, true, space, &len);
    if (err == HG_OK && len > size)
        err = HG_ETOOBIG;
    if (err == HG_OK) {
        memcpy(out, space, len);
        *out_len = len;
    }
    hg_free(space);
    return err;
}

struct hg_group *hg_admin_group(struct hg_front *front, struct hg_exchange *exchange)
{
    struct hg_groups *groups = front->node->groups;
    char name[256];
    size_t len = 0;
    struct hg_group *group = NULL;
    int err = hg_admin_parameter(exchange->request, "group", name, sizeof(name), &len);
    if (err == HG_OK)
        group = hg_groups_find(groups, hg_bytes(name, len));
    else if (err == HG_ENOENT)
        group = hg_groups_only(groups);
    if (group != NULL)
        return group;
    if (err == HG_ENOENT)
        hg_admin_text(front, exchange, 400, "group needed: ?group=");
    else if (err == HG_EINVAL || err == HG_EPROTO)
        hg_admin_text(front, exchange, 400, "group: given twice or badly percent-encoded");
    else if (err == HG_ENOMEM)
        hg_admin_text(front, exchange, 503, "out of memory");
    else
        hg_admin_text(front, exchange, 404, "no such group");
    return NULL;
}

/* group= and key=, the key into front->key. NULL: answered. */
static struct hg_group *group_and_key(struct hg_front *front, struct hg_exchange *exchange,
                                      struct hg_bytes *out_key)
{
    size_t len = 0;
    struct hg_group *group = hg_admin_group(front, exchange);
    if (group == NULL)
        return NULL;
    int err = hg_admin_parameter(exchange->request, "key", front->key,
                                 front->node->config->limits.key, &len);
    if (err == HG_OK && len > 0) {
        *out_key = hg_bytes(front->key, len);
        return group;
    }
    if (err == HG_ETOOBIG)
        hg_admin_text(front, exchange, 414, "the key is too long");
    else if (err == HG_ENOMEM)
        hg_admin_text(front, exchange, 503, "out of memory");
    else
        hg_admin_text(front, exchange, 400,
                      "key: missing, empty, given twice or badly percent-encoded");
    return NULL;
}

static void reply_key(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                      struct hg_bytes key, void *target, const struct hg_result *result)
{
    (void)key;
    (void)group;
    (void)target;
    struct hg_value *value = result->value;
    if (result->err != HG_OK || hg_value_status(value) != HG_STATUS_VALUE) {
        bool is_missing = result->err == HG_ENOENT ||
                          (result->err == HG_OK && hg_value_status(value) == HG_STATUS_NOT_FOUND);
        char message[600] = "";
        if (is_missing)
            snprintf(message, sizeof(message), "no such key");
        else if (result->err != HG_OK)
            snprintf(message, sizeof(message), "%s", hg_err_text(result->err));
        else
            hg_bytes_escape(hg_value_data(value), message, sizeof(message));
        hg_admin_text(front, exchange, hg_result_http_status(result), message);
        return;
    }
    struct hg_bytes type = hg_value_type(value);
    hg_buf_clear(&front->headers);
    hg_buf_append_str(&front->headers, "Cache-Control: no-store\r\n");
    hg_field_append(&front->headers, HG_BYTES("Content-Type"),
                    type.len > 0 ? type : HG_BYTES("application/octet-stream"));
    struct hg_reply reply = {.status = 200,
                             .headers = hg_buf_bytes(&front->headers),
                             .body = hg_value_data(value),
                             .is_head = exchange->request->method == HG_HEAD};
    hg_exchange_answer(exchange, &reply);
}

static void keys(struct hg_front *front, struct hg_exchange *exchange)
{
    const struct hg_http1_request *request = exchange->request;
    struct hg_bytes key, load;
    struct hg_group *group = group_and_key(front, exchange, &key);
    if (group == NULL)
        return;
    if (request->method == HG_PUT || request->method == HG_DELETE) {
        hg_admin_write_key(front, exchange, group, key);
        return;
    }
    bool is_load = hg_query_find(request->query, HG_BYTES("load"), &load) == HG_OK &&
                   hg_bytes_eq(load, HG_BYTES("1"));
    struct hg_get get = {.key = key, .is_peek = !is_load};
    hg_request_get(front, exchange, group, &get, 0, reply_key, NULL);
}

static void ready(struct hg_front *front, struct hg_exchange *exchange)
{
    const char *why_not = hg_node_not_ready(front->node);
    hg_admin_text(front, exchange, why_not[0] == 0 ? 200 : 503,
                  why_not[0] == 0 ? "ready" : why_not);
}

static void live(struct hg_front *front, struct hg_exchange *exchange)
{
    hg_admin_text(front, exchange, 200, "live");
}

static void metrics(struct hg_front *front, struct hg_exchange *exchange)
{
    hg_buf_clear(&front->body);
    answer_page(front, exchange, hg_metrics_format(front->node, &front->body),
                "text/plain; version=0.0.4; charset=utf-8");
}

static void stats(struct hg_front *front, struct hg_exchange *exchange)
{
    hg_buf_clear(&front->body);
    answer_page(front, exchange, hg_stats_format(front->node, &front->body), "application/json");
}

static void ring(struct hg_front *front, struct hg_exchange *exchange)
{
    hg_buf_clear(&front->body);
    answer_page(front, exchange,
                hg_ring_format(front->node, hg_loop_now(front->loop), &front->body),
                "application/json");
}

static void hot(struct hg_front *front, struct hg_exchange *exchange)
{
    hg_buf_clear(&front->body);
    answer_page(front, exchange, hg_hot_format(front->node, hg_loop_now(front->loop), &front->body),
                "application/json");
}

static void explained(struct hg_front *front, struct hg_exchange *exchange, int err)
{
    answer_page(front, exchange, err, "application/json");
}

static void explain(struct hg_front *front, struct hg_exchange *exchange)
{
    struct hg_bytes key;
    struct hg_group *group = group_and_key(front, exchange, &key);
    if (group != NULL)
        hg_explain_gather(front, exchange, group, key, explained);
}

#define READS (1u << HG_GET | 1u << HG_HEAD)

static const struct page {
    const char *path;
    void (*serve)(struct hg_front *front, struct hg_exchange *exchange);
    bool is_open; /* without a token and from any Host: for load balancers */
    unsigned methods;
    const char *allow;
} pages[] = {
    {"/live", live, true, READS, "GET, HEAD"},
    {"/ready", ready, true, READS, "GET, HEAD"},
    {"/metrics", metrics, false, READS, "GET, HEAD"},
    {"/stats", stats, false, READS, "GET, HEAD"},
    {"/ring", ring, false, READS, "GET, HEAD"},
    {"/hot", hot, false, READS, "GET, HEAD"},
    {"/explain", explain, false, READS, "GET, HEAD"},
    {"/keys", keys, false, READS | 1u << HG_PUT | 1u << HG_DELETE, "GET, HEAD, PUT, DELETE"},
    {"/flush", hg_admin_flush, false, 1u << HG_POST, "POST"},
    {"/tags", hg_admin_untag, false, 1u << HG_DELETE, "DELETE"},
    {"/reload", hg_admin_reload, false, 1u << HG_POST, "POST"},
    {"/drain", hg_admin_drain, false, 1u << HG_POST, "POST"},
};

bool hg_admin_request(struct hg_front *front, struct hg_exchange *exchange)
{
    const struct hg_http1_request *request = exchange->request;
    const struct page *page = NULL;
    for (size_t i = 0; i < HG_COUNT(pages) && page == NULL; i++) {
        if (hg_bytes_eq(request->path, hg_bytes_str(pages[i].path)))
            page = &pages[i];
    }
    if (page == NULL) {
        if (exchange->roles & HG_ROLE_API)
            return false; /* the addresses are shared: maybe a route */
        hg_admin_text(front, exchange, 404,
                      "no such page; there are /live /ready /metrics /stats /ring /hot /explain "
                      "/keys /flush /tags /reload /drain");
        return true;
    }
    bool is_read = request->method == HG_GET || request->method == HG_HEAD;
    if (!page->is_open && !hg_auth_is_allowed(request, &front->generation->config->admin_tokens)) {
        HG_COUNT_UP(front->node->counters.unauthorized);
        struct hg_reply reply = {
            .status = 401,
            .headers =
                HG_BYTES("WWW-Authenticate: Bearer\r\nContent-Type: text/plain; charset=utf-8\r\n"),
            .body = HG_BYTES("an admin token is needed\n"),
            .is_head = request->method == HG_HEAD};
        hg_exchange_answer(exchange, &reply);
    } else if (!page->is_open && !is_host_allowed(front, request->host)) {
        HG_COUNT_UP(front->node->counters.unauthorized);
        hg_admin_text(front, exchange, 403, "this Host is not in node.admin.hosts");
    } else if (!(page->methods & 1u << request->method)) {
        char allow[64];
        snprintf(allow, sizeof(allow), "Allow: %s\r\n", page->allow);
        struct hg_reply reply = {.status = 405, .headers = hg_bytes_str(allow)};
        hg_exchange_answer(exchange, &reply);
    } else if (!is_read && hg_http1_field(request, "origin").data != NULL) {
        /* A page in a browser can send a POST here without being asked whether it may. */
        HG_COUNT_UP(front->node->counters.unauthorized);
        hg_admin_text(front, exchange, 403, "changes are not taken from web pages (Origin is set)");
    } else {
        page->serve(front, exchange);
    }
    return true;
}
