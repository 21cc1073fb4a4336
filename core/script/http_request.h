/*
 * http_request - what hg.http asks of the world: checked, counted and begun in one place, for an answer as a whole (lib_http.c)
 * and in pieces (transfer.c).
 *
 * Limits     node.http.origins, .concurrency and .per_load, each with its counter.
 */
#ifndef HG_SCRIPT_HTTP_REQUEST_H
#define HG_SCRIPT_HTTP_REQUEST_H

#include "net/fetch.h"
#include "net/url.h"
#include "script/runtime_impl.h"

#define HG_FETCH_COUNT(runtime, name, by)                                                          \
    atomic_fetch_add_explicit(&(runtime)->fetch.name, by, memory_order_relaxed)

struct hg_http_request {
    const char *base, *text; /* the URL that redirected, or NULL; the URL, perhaps relative to it */
    struct hg_fetch_options fetch;
    /* NULL, or where to note, under the thread's lock, that it counts as running, and its link in task->transfers. */
    bool *is_counted;
    struct hg_list *link;
};

/* Why there is none; for nil, message, code. */
struct hg_http_refusal {
    const char *message, *code;
};

/*
 * The arguments method, url, redirected_from | nil, lines, body | nil, timeout_ms, connect_ms, body_max | nil, compression, from the
 * first on. What it borrows stays on the stack.   [-0, +1, v]
 */
void hg_http_check_request(lua_State *L, struct hg_http_request *out_request);
/* { ca =, cert =, key = } at index, each a file's path or nil, or nil: node.http.ca. What it borrows stays in the table.   [-0, +0, v] */
void hg_http_check_tls(lua_State *L, int index, struct hg_http_request *request);
/*
 * HG_OK: begun, and counted as running: done follows, and whoever hears of the end gives the place back. HG_EACCES, and why;
 * HG_ECANCELED: the load is over: raise. Raises nothing itself. Fills request's body_max in.
 */
int hg_http_begin(struct hg_task *task, struct hg_http_request *request, hg_fetch_fn done, void *ctx,
                  struct hg_url *out_url, struct hg_fetch **out_fetch, struct hg_http_refusal *out_refusal);

/* Whether begin would refuse it at once, for who asks in its place; it counts as a request of the task. In no need of the core. */
bool hg_http_refuse(struct hg_task *task, const struct hg_http_request *request,
                    struct hg_http_refusal *out_refusal);

/* A field's name, in lower case.   [-0, +1, m] */
void hg_http_push_lower(lua_State *L, struct hg_bytes name);
/* { [lower-case name] = value }; of a body that was unpacked without what tells of packing.   [-0, +1, m] */
void hg_http_push_headers(lua_State *L, const struct hg_fetch_response *response, bool is_unpacked);
/* nil, message, code   [-0, +3, m] */
int hg_http_push_failure(lua_State *L, const char *message, const char *code);
int hg_http_push_error(lua_State *L, int err, const char *text, size_t body_max);

#endif
