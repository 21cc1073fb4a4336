/*
 * Answers of hg.serve: raw bytes or HgCache v2's envelope, with ETag, Age, Cache-Status, conditional requests and CORS.
 * No Lua and, for a hit, no allocation once the front's scratch buffers have grown.
 */
#include <stdio.h>
#include "cluster/answer.h"
#include "node/node_impl.h"
#include "wire/query.h"
#include "wire/reply.h"

static void append_u64_line(struct hg_buf *headers, struct hg_bytes name, uint64_t number)
{
    hg_buf_append_bytes(headers, name);
    hg_buf_append_u64(headers, number);
    hg_buf_append(headers, "\r\n", 2);
}

static void append_cache_status(struct hg_front *front, const struct hg_result *result)
{
    char text[512];
    enum hg_cache_status how = HG_CS_HIT;
    uint64_t now_ms = hg_loop_now(front->loop);
    bool has_ttl = result->expires_ms != 0 && result->expires_ms != HG_FOREVER;
    if (result->how == HG_HOW_MISS)
        how = HG_CS_MISS;
    else if (result->how == HG_HOW_COLLAPSED)
        how = HG_CS_COLLAPSED;
    else if (result->how == HG_HOW_STALE)
        how = HG_CS_STALE;
    int64_t ttl_ms = has_ttl ? (int64_t)(result->expires_ms - now_ms) : 0;
    size_t len = hg_cache_status_format(front->node->name, how, has_ttl, ttl_ms, text);
    hg_buf_append(&front->headers, "Cache-Status: ", 14);
    hg_buf_append(&front->headers, text, len);
    hg_buf_append(&front->headers, "\r\n", 2);
}

/* Lines that begin so, with the colon. */
static void drop_lines(struct hg_buf *headers, struct hg_bytes start)
{
    size_t to = 0;
    for (size_t at = 0, len; at < headers->len; at += len) {
        char *line = headers->data + at;
        const char *end = memchr(line, '\n', headers->len - at);
        len = end == NULL ? headers->len - at : (size_t)(end - line) + 1;
        if (len >= start.len && hg_bytes_eq_nocase(hg_bytes(line, start.len), start))
            continue;
        memmove(headers->data + to, line, len);
        to += len;
    }
    headers->len = to;
}

void hg_front_no_store(struct hg_front *front, const struct hg_exchange *exchange)
{
    if (!(exchange->marks & HG_MARK_UNKNOWN))
        return;
    drop_lines(&front->headers, HG_BYTES("Cache-Control:"));
    hg_buf_append_str(&front->headers, "Cache-Control: no-store\r\n");
}

void hg_front_cors(struct hg_front *front, const struct hg_exchange *exchange,
                   const struct hg_cors *cors)
{
    hg_cors_answer(cors, exchange->request, exchange->marks & HG_MARK_APPROVED, &front->headers);
    if (cors != NULL)
        hg_front_no_store(front, exchange);
}

static void append_cors(struct hg_front *front, const struct hg_exchange *exchange,
                        const struct hg_node_route *route)
{
    hg_front_cors(front, exchange, route != NULL ? route->cors : front->generation->cors);
}

static const struct hg_config_page *find_page(const struct hg_config *config, int status)
{
    for (size_t i = 0; i < config->page_count; i++)
        if (config->pages[i].status == status)
            return &config->pages[i];
    return NULL;
}

static const char *type_of(const struct hg_config_page *page)
{
    return page->text[0] == '<' ? "Content-Type: text/html; charset=utf-8\r\n"
                                : "Content-Type: text/plain; charset=utf-8\r\n";
}

const char *hg_front_page(void *ctx, unsigned roles, int status, const char **out_type)
{
    const struct hg_front *front = ctx;
    const struct hg_config_page *page =
        roles & HG_ROLE_API ? find_page(front->generation->config, status) : NULL;
    if (page == NULL || page->text == NULL)
        return NULL;
    *out_type = type_of(page);
    return page->text;
}

static void answer_text(struct hg_front *front, struct hg_exchange *exchange, int status,
                        const char *type, struct hg_bytes body)
{
    hg_buf_append_str(&front->headers, type);
    struct hg_reply reply = {.status = status,
                             .headers = hg_buf_bytes(&front->headers),
                             .body = body,
                             .is_head = exchange->request->method == HG_HEAD};
    hg_exchange_answer(exchange, &reply);
}

void hg_front_error_more(struct hg_front *front, struct hg_exchange *exchange,
                         struct hg_node_route *route, int status, const char *message)
{
    bool is_envelope =
        route != NULL && !route->config->is_function && route->config->as == HG_AS_ENVELOPE;
    bool may_have = !is_envelope && (exchange->marks & HG_MARK_PAGES);
    const struct hg_config_page *page = may_have ? find_page(front->generation->config, status) : NULL;

    if (page != NULL && page->text != NULL) {
        answer_text(front, exchange, status, type_of(page), hg_bytes_str(page->text));
        return;
    }
    exchange->marks &= ~HG_MARK_PAGES; /* what goes wrong in it has none */
    if (page != NULL) {
        exchange = hg_call_page(front, exchange, status, message);
        if (exchange == NULL)
            return;
    }
    hg_buf_clear(&front->body);
    if (is_envelope) {
        hg_envelope_error(&front->body, status);
    } else {
        hg_buf_append_str(&front->body, message);
        hg_buf_append_char(&front->body, '\n');
    }
    answer_text(front, exchange, status,
                is_envelope ? "Content-Type: application/json; charset=utf-8\r\n"
                            : "Content-Type: text/plain; charset=utf-8\r\n",
                hg_buf_bytes(&front->body));
}

static void answer_error(struct hg_front *front, struct hg_exchange *exchange,
                         struct hg_node_route *route, int status, const char *message)
{
    append_cors(front, exchange, route);
    hg_front_error_more(front, exchange, route, status, message);
}

void hg_front_error(struct hg_front *front, struct hg_exchange *exchange,
                    struct hg_node_route *route, int status, const char *message)
{
    hg_buf_clear(&front->headers);
    answer_error(front, exchange, route, status, message);
}

/* One line that is safe for clients: no control bytes, the getter's class and message only where the group says so. */
static void error_message(const struct hg_result *result, bool expose, int status, char *out,
                          size_t size)
{
    const struct hg_value *value = result->value;
    if (expose && result->err == HG_OK && hg_value_status(value) == HG_STATUS_ERROR) {
        struct hg_bytes message = hg_value_data(value);
        int len = snprintf(out, size, "%s", hg_class_name(hg_value_class(value)));
        if (message.len > 0 && len > 0 && (size_t)len + 3 < size) {
            memcpy(out + len, ": ", 2);
            hg_bytes_escape(message, out + len + 2, size - (size_t)len - 2);
        }
        return;
    }
    const char *text = hg_status_text(status);
    if (result->err == HG_EINVAL)
        text = "the key is empty";
    else if (result->err == HG_ETOOBIG)
        text = "the key is too long";
    else if (result->err == HG_ETIMEDOUT)
        text = "the deadline passed";
    else if (result->err == HG_ELIMIT)
        text = "too many loads in progress";
    else if (result->err == HG_ERECURSIVE)
        text = "recursive load";
    else if (result->err == HG_OK && hg_value_status(value) == HG_STATUS_NOT_FOUND)
        text = "not found";
    snprintf(out, size, "%s", text);
}

static void reply_error(struct hg_front *front, struct hg_exchange *exchange,
                        struct hg_node_route *route, const struct hg_result *result, bool expose)
{
    int status = hg_result_http_status(result);
    uint64_t retry_after_s = hg_result_retry_after_s(result);
    char message[600];
    if (retry_after_s > 0)
        append_u64_line(&front->headers, HG_BYTES("Retry-After: "), retry_after_s);
    error_message(result, expose, status, message, sizeof(message));
    answer_error(front, exchange, route, status, message);
}

static void reply_value(struct hg_front *front, struct hg_exchange *exchange,
                        struct hg_node_route *route, const struct hg_result *result)
{
    const struct hg_http1_request *request = exchange->request;
    const struct hg_config_route *config = route->config;
    struct hg_value *value = result->value;
    struct hg_buf *headers = &front->headers;
    uint64_t now_ms = hg_loop_now(front->loop);

    char etag_text[HG_ETAG_SPACE];
    struct hg_bytes etag = hg_bytes(etag_text, hg_etag_format(value, etag_text));
    hg_buf_append(headers, "ETag: ", 6);
    hg_buf_append_bytes(headers, etag);
    hg_buf_append(headers, "\r\n", 2);
    append_u64_line(headers, HG_BYTES("Age: "),
                    result->created_ms != 0 && now_ms > result->created_ms
                        ? (now_ms - result->created_ms) / 1000
                        : 0);
    /* A value without end says nothing: it may be set or removed tomorrow. */
    if (config->cache_control && (result->expires_ms == 0 || result->how == HG_HOW_STALE))
        hg_buf_append_str(headers, "Cache-Control: no-cache\r\n");
    else if (config->cache_control && result->expires_ms != HG_FOREVER)
        append_u64_line(headers, HG_BYTES("Cache-Control: max-age="),
                        result->expires_ms > now_ms ? (result->expires_ms - now_ms) / 1000 : 0);
    hg_buf_append_bytes(headers, hg_buf_bytes(&route->headers));
    append_cors(front, exchange, route);

    if ((request->method == HG_GET || request->method == HG_HEAD) &&
        request->if_none_match.data != NULL && hg_etag_matches(request->if_none_match, etag)) {
        struct hg_reply reply = {
            .status = 304, .headers = hg_buf_bytes(headers), .no_length = true};
        hg_exchange_answer(exchange, &reply);
        return;
    }

    struct hg_reply reply = {.status = 200, .is_head = request->method == HG_HEAD};
    struct hg_bytes data = hg_value_data(value);
    if (config->as == HG_AS_ENVELOPE) {
        hg_buf_clear(&front->body);
        if (hg_envelope_data(&front->body, data) < 0) {
            HG_COUNT_UP(front->node->counters.no_memory);
            hg_front_error(front, exchange, route, 503, "out of memory");
            return;
        }
        hg_buf_append_str(headers, "Content-Type: application/json; charset=utf-8\r\n");
        reply.body = hg_buf_bytes(&front->body);
    } else {
        struct hg_bytes type = hg_value_type(value);
        if (route->has_type)
            type = HG_BYTES_NONE;
        else if (config->type != NULL)
            type = hg_bytes_str(config->type);
        else if (type.len == 0)
            type = HG_BYTES("application/octet-stream");
        /* Another node may have sent anything as the type. */
        if (!route->has_type && hg_field_append(headers, HG_BYTES("Content-Type"), type) < 0)
            hg_buf_append_str(headers, "Content-Type: application/octet-stream\r\n");
        reply.body = data;
        if (!hg_value_is_private(value) && data.len > HG_SMALL_MAX && !reply.is_head)
            reply.value = hg_value_ref(value);
    }
    reply.headers = hg_buf_bytes(headers);
    hg_exchange_answer(exchange, &reply);
    hg_front_trim(front);
}

static void reply(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                  struct hg_bytes key, void *target, const struct hg_result *result)
{
    (void)key;
    struct hg_node_route *route = target;
    hg_buf_clear(&front->headers);
    if (result->err != HG_OK) {
        reply_error(front, exchange, route, result, false);
        return;
    }
    append_cache_status(front, result);
    if (hg_value_status(result->value) == HG_STATUS_VALUE) {
        reply_value(front, exchange, route, result);
        return;
    }
    reply_error(front, exchange, route, result, hg_group_config(group)->expose_errors);
}

void hg_serve_get(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                  struct hg_get *get, uint64_t timeout_ms, struct hg_node_route *route,
                  void (*release)(void *route))
{
    hg_request_get_owned(front, exchange, group, get, timeout_ms, reply, route, release);
}

/* {query.group}, or the only group. NULL: answered already. */
static struct hg_group *find_group(struct hg_front *front, struct hg_exchange *exchange,
                                   struct hg_node_route *route)
{
    struct hg_groups *groups = front->node->groups;
    struct hg_bytes raw;
    int err = hg_query_find(exchange->request->query, HG_BYTES("group"), &raw);
    struct hg_group *only = err == HG_ENOENT ? hg_groups_only(groups) : NULL;
    if (only != NULL)
        return only;
    char name[256];
    size_t len = 0;
    if (err == HG_ENOENT) {
        hg_front_error(front, exchange, route, 400, "group needed: ?group=");
        return NULL;
    }
    if (err == HG_OK)
        err = raw.len > sizeof(name) ? HG_ETOOBIG : hg_percent_decode(raw, true, name, &len);
    if (err == HG_EINVAL || err == HG_EPROTO) {
        hg_front_error(front, exchange, route, 400, "group: given twice or badly percent-encoded");
        return NULL;
    }
    struct hg_group *group = err == HG_OK ? hg_groups_find(groups, hg_bytes(name, len)) : NULL;
    if (group == NULL)
        hg_front_error(front, exchange, route, 404, "no such group");
    return group;
}

void hg_serve_request(struct hg_front *front, struct hg_exchange *exchange,
                      struct hg_node_route *route, const struct hg_path_params *params)
{
    struct hg_group *group = route->group;
    if (group == NULL && (group = find_group(front, exchange, route)) == NULL)
        return;

    struct hg_get get = {0};
    const char *part = "key";
    size_t len = 0;
    int err = hg_template_expand(route->key, exchange->request, params, front->key,
                                 front->node->config->limits.key, &len, &part);
    if (err < 0) {
        char message[160];
        int status = 400;
        if (err == HG_ETOOBIG) {
            status = 414;
            snprintf(message, sizeof(message), "the key is longer than %zu bytes",
                     front->node->config->limits.key);
        } else {
            snprintf(message, sizeof(message), "%s %s", part,
                     err == HG_ENOENT   ? "is missing or empty"
                     : err == HG_EINVAL ? "is given twice"
                                        : "is badly percent-encoded");
        }
        hg_front_error(front, exchange, route, status, message);
        return;
    }
    get.key = hg_bytes(front->key, len);
    hg_request_get(front, exchange, group, &get, route->config->timeout_ms, reply, route);
}
