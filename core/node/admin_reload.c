/* POST /reload, answered when the new configuration serves or is refused, and POST /drain, answered at once. */
#include "base/alloc.h"
#include "node/node_impl.h"

struct asked {
    struct hg_pending pending;
    struct hg_reload_ask ask;
    struct hg_front *front;
    struct hg_exchange *exchange;
};

static void on_gone(struct hg_pending *pending, struct hg_exchange *exchange)
{
    (void)pending; /* the reload goes on; the exchange is answered into the void */
    (void)exchange;
}

static void on_done(struct hg_reload_ask *ask)
{
    struct asked *asked = hg_container_of(ask, struct asked, ask);
    struct hg_front *front = asked->front;

    asked->exchange->user = NULL;
    if (ask->status == 200) {
        hg_admin_answer(front, asked->exchange, 200, "application/json", &ask->body);
    } else {
        hg_buf_clear(&front->body);
        hg_buf_append_bytes(&front->body, hg_buf_bytes(&ask->body));
        hg_buf_append_char(&front->body, '\n');
        hg_admin_answer(front, asked->exchange, ask->status, "text/plain; charset=utf-8",
                        &front->body);
    }
    hg_buf_finish(&ask->body);
    hg_free(asked);
}

void hg_admin_reload(struct hg_front *front, struct hg_exchange *exchange)
{
    struct asked *asked = hg_calloc(1, sizeof(*asked));
    struct hg_exchange *kept = asked == NULL ? NULL : hg_exchange_keep(exchange);
    if (kept == NULL) {
        hg_free(asked);
        hg_admin_text(front, exchange, 503, "out of memory");
        return;
    }
    asked->pending.gone = on_gone;
    asked->front = front;
    asked->exchange = kept;
    kept->user = &asked->pending;
    asked->ask.node = front->node;
    asked->ask.done = on_done;
    hg_reload_ask(&asked->ask);
}

struct leave {
    struct hg_mail mail;
    struct hg_node *node;
};

static void on_leave(struct hg_mail *mail)
{
    struct leave *leave = hg_container_of(mail, struct leave, mail);
    if (atomic_load(&leave->node->phase) == HG_NODE_SERVING)
        hg_drain_begin(leave->node);
    hg_free(leave);
}

void hg_admin_drain(struct hg_front *front, struct hg_exchange *exchange)
{
    struct leave *leave = hg_malloc(sizeof(*leave));
    if (leave == NULL) {
        hg_admin_text(front, exchange, 503, "out of memory");
        return;
    }
    *leave = (struct leave){.mail = {.deliver = on_leave}, .node = front->node};
    hg_buf_clear(&front->body);
    hg_buf_append_str(&front->body, "{\"draining\":true}\n");
    hg_admin_answer(front, exchange, 202, "application/json", &front->body);
    hg_loop_post(&front->node->control, &leave->mail);
}
