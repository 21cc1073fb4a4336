/*
 * http2_pool_impl - inside of http2_pool: what http2_pool.c (requests) and http2_link.c (one connection) share.
 */
#ifndef HG_NET_HTTP2_POOL_IMPL_H
#define HG_NET_HTTP2_POOL_IMPL_H

#include "net/http2_pool.h"
#include "net/timer.h"
#include "wire/http2_client.h"

enum hg_http2_link_state {
    HG_HTTP2_CONNECTING,
    HG_HTTP2_GREETING, /* connected; the server's SETTINGS are awaited */
    HG_HTTP2_READY,
    HG_HTTP2_CLOSING,
};

/* One connection. */
struct hg_http2_link {
    struct hg_list link; /* pool->links */
    struct hg_http2_pool *pool;
    enum hg_http2_link_state state;
    struct hg_stream stream;
    struct hg_http2_client *client;
    uint64_t due_ms; /* when hg_http2_link_check is to be called */
    bool is_writing, is_used;
};

struct hg_http2_fetch {
    struct hg_list all;  /* pool->fetches */
    struct hg_list link; /* pool->waiting, pool->ended, or none */
    struct hg_http2_pool *pool;
    struct hg_http2_link *on; /* its stream's; NULL: none */
    struct hg_http2_call *call;
    const char *headers[HG_HTTP2_REQUEST_FIELDS + 1]; /* into text */
    const char *method, *path;
    struct hg_bytes body;
    size_t body_max;
    uint64_t due_ms;
    hg_fetch_fn done;
    hg_fetch_data_fn data;
    void *ctx;
    int err, cancel_err; /* cancel_err: canceled with this, `mail` is under way */
    const char *err_text;
    bool is_grpc, is_again, is_waiting, is_connect_error, is_unprocessed;
    struct hg_mail mail;
    char text[];
};

struct hg_http2_pool {
    struct hg_loop *loop;
    struct hg_http2_pool_config config;
    struct hg_list links, fetches, waiting, ended;
    size_t waiting_count;
    uv_idle_t turn; /* on while something is to be sent or told */
    struct hg_timer timer;
    uint64_t due_ms;
    struct hg_buf out;
    unsigned open_parts; /* handles and links, when closing */
    bool is_closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
    char *host;
    uint16_t port;
    const char *authority; /* into the url */
};

/* http2_pool.c */
void hg_http2_pool_schedule(struct hg_http2_pool *pool); /* a turn is due */
void hg_http2_pool_wake(struct hg_http2_pool *pool, uint64_t due_ms);
/* Sends what there is room for, tells of what has ended. May call anybody; links may be closing afterwards. */
void hg_http2_pool_turn(struct hg_http2_pool *pool);
void hg_http2_pool_part_closed(struct hg_http2_pool *pool);
/* No connection came about: those that wait need not go on unless there is another one. */
void hg_http2_pool_give_up_waiting(struct hg_http2_pool *pool, int err, const char *text,
                                   bool is_connect_error, bool is_unprocessed);

/* http2_link.c */
int hg_http2_link_open(struct hg_http2_pool *pool);
void hg_http2_link_close(struct hg_http2_link *link, int err, const char *text);
size_t hg_http2_link_room(const struct hg_http2_link *link);
/* It may become or be of use. */
bool hg_http2_link_has_hope(const struct hg_http2_link *link);
int hg_http2_link_begin(struct hg_http2_link *link, struct hg_http2_fetch *fetch);
void hg_http2_link_flush(struct hg_http2_link *link);
void hg_http2_link_check(struct hg_http2_link *link, uint64_t now_ms);

#endif
