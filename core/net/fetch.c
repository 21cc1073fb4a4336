/*
 * libcurl asks for descriptors to be watched and for one timer; libuv does both and tells libcurl
 * what happened.
 *
 *   uv_poll, uv_timer -> curl_multi_socket_action -> finished easy handles -> done
 *
 * done is only ever called from our own callbacks and never from inside libcurl, so it may start
 * and cancel.
 */
#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/fetch_impl.h"

#define EASY_POOL_MAX      32
#define WATCH_BUCKETS      64
#define HOST_CONNECTIONS   512 /* each waits for one answer: slow loads must not hold up quick ones */
#define POOLED_CONNECTIONS 256
#define HEADERS_MAX        65536
#define BODY_MAX_DEFAULT   ((size_t)64 << 20)
#define CLOCK_SLACK_MS     5 /* libcurl's clock and ours are read at different moments */
#define TIMEOUT_MS_MAX     ((uint64_t)1 << 30) /* 12 days; beyond that there is none */

/*
 * Of one descriptor number of libcurl's. It stays, stopped, when libcurl lets go of the descriptor,
 * which it does after every request: starting it again is one system call, a new one four. A
 * stopped watch of a number that belongs to somebody else by now does no harm.
 */
struct watch {
    struct watch *next; /* in its bucket */
    uv_poll_t poll;
    struct hg_fetcher *fetcher;
    curl_socket_t fd;
};

struct hg_fetcher {
    struct hg_loop *loop;
    CURLM *multi; /* NULL before the first fetch, and once shut */
    uv_timer_t timer;
    struct hg_list fetches;
    struct hg_list arrived; /* by fetch.arrived: a piece of the body is to be handed out */
    struct hg_list settled; /* by fetch.settled: perhaps all of its answer is there */
    struct watch *watches[WATCH_BUCKETS];
    CURL *easy_pool[EASY_POOL_MAX];
    unsigned easy_count;
    unsigned open_handles; /* libuv's, the timer among them */
    long host_connections;
    bool is_closing, is_shut;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void fetcher_reap(struct hg_fetcher *fetcher);

static void on_handle_closed(struct hg_fetcher *fetcher)
{
    if (--fetcher->open_handles > 0)
        return;
    void (*closed)(void *) = fetcher->closed;
    void *closed_ctx = fetcher->closed_ctx;
    hg_free(fetcher);
    if (closed != NULL)
        closed(closed_ctx);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    struct hg_fetcher *fetcher = watch->fetcher;
    hg_free(watch);
    on_handle_closed(fetcher);
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_handle_closed(handle->data);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    struct hg_fetcher *fetcher = watch->fetcher;
    int flags = 0, running;

    if (status < 0)
        flags = CURL_CSELECT_ERR;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    hg_curl->multi_socket_action(fetcher->multi, watch->fd, flags, &running);
    fetcher_reap(fetcher);
}

static void on_timer(uv_timer_t *timer)
{
    struct hg_fetcher *fetcher = timer->data;
    int running;
    hg_curl->multi_socket_action(fetcher->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    fetcher_reap(fetcher);
}

static struct watch *watch_get(struct hg_fetcher *fetcher, curl_socket_t fd)
{
    struct watch **bucket = &fetcher->watches[(unsigned)fd % WATCH_BUCKETS];
    for (struct watch *watch = *bucket; watch != NULL; watch = watch->next) {
        if (watch->fd == fd)
            return watch;
    }
    struct watch *watch = hg_calloc(1, sizeof(*watch));
    if (watch == NULL || uv_poll_init_socket(&fetcher->loop->uv, &watch->poll, fd) < 0) {
        hg_free(watch);
        return NULL;
    }
    watch->fetcher = fetcher;
    watch->fd = fd;
    watch->poll.data = watch;
    watch->next = *bucket;
    *bucket = watch;
    fetcher->open_handles++;
    return watch;
}

static void on_canceled(struct hg_mail *mail);

/* NULL: libcurl's own. */
static struct hg_fetch *fetch_of(CURL *easy)
{
    struct hg_fetch *fetch = NULL;
    hg_curl->easy_getinfo(easy, CURLINFO_PRIVATE, &fetch);
    return fetch;
}

/* Out of memory inside of libcurl, which cannot let go of the fetch here. */
static void fail_later(struct hg_fetch *fetch)
{
    if (fetch == NULL || fetch->cancel_err != HG_OK)
        return;
    fetch->cancel_err = HG_ENOMEM;
    fetch->mail.deliver = on_canceled;
    hg_loop_post(fetch->fetcher->loop, &fetch->mail);
}

/* libcurl: watch this descriptor, or do no longer. */
static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    struct hg_fetcher *fetcher = ctx;
    struct watch *watch = socket_ctx;

    hg_fetch_pieces_watch(fetch_of(easy), fd, what);
    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL)
            uv_poll_stop(&watch->poll);
        hg_curl->multi_assign(fetcher->multi, fd, NULL);
        return 0;
    }
    if (watch == NULL) {
        watch = watch_get(fetcher, fd);
        if (watch == NULL) { /* -1 would end every fetch there is and will be */
            fail_later(fetch_of(easy));
            return 0;
        }
        hg_curl->multi_assign(fetcher->multi, fd, watch);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    uv_poll_start(&watch->poll, events, on_ready);
    return 0;
}

/* libcurl: call me in so many ms. Never at once: this may be inside hg_fetch_start. */
static int on_curl_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct hg_fetcher *fetcher = ctx;
    (void)multi;
    if (timeout_ms < 0)
        uv_timer_stop(&fetcher->timer);
    else if (!uv_is_closing((uv_handle_t *)&fetcher->timer))
        uv_timer_start(&fetcher->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

void hg_fetch_note(struct hg_fetch *fetch)
{
    if (hg_list_is_empty(&fetch->arrived))
        hg_list_push_back(&fetch->fetcher->arrived, &fetch->arrived);
}

static size_t on_curl_body(char *data, size_t size, size_t count, void *ctx)
{
    struct hg_fetch *fetch = ctx;
    fetch->heard_ms = hg_loop_now(fetch->fetcher->loop);
    if (fetch->moved != NULL)
        return hg_fetch_pieces_body(fetch, hg_bytes(data, size * count));
    int err = hg_buf_append(&fetch->body, data, size * count);
    if (err == HG_OK) {
        /* Not from here: libcurl may not be called from inside itself. */
        if (fetch->data != NULL)
            hg_fetch_note(fetch);
        return size * count;
    }
    fetch->is_too_big = err == HG_ETOOBIG;
    fetch->is_out_of_memory = err != HG_ETOOBIG;
    return CURL_WRITEFUNC_ERROR;
}

static size_t on_curl_header(char *data, size_t size, size_t count, void *ctx)
{
    struct hg_fetch *fetch = ctx;
    struct hg_bytes line = hg_bytes(data, size * count);
    fetch->heard_ms = hg_loop_now(fetch->fetcher->loop);
    if (hg_bytes_has_prefix(line, HG_BYTES("HTTP/"))) {
        hg_buf_clear(&fetch->headers); /* 100 Continue came before */
        fetch->has_head = false;
        fetch->coding_count = 0;
        return line.len;
    }
    if (fetch->moved != NULL && !fetch->has_head && !hg_fetch_pieces_can_unpack(fetch, line))
        return CURL_WRITEFUNC_ERROR;
    fetch->has_head =
        fetch->has_head || line.len == 0 || line.data[0] == '\r' || line.data[0] == '\n';
    int err = hg_buf_append_bytes(&fetch->headers, line);
    if (err == HG_OK && fetch->has_head && fetch->moved != NULL)
        hg_fetch_note(fetch);
    if (err == HG_OK)
        return line.len;
    fetch->is_too_big = err == HG_ETOOBIG;
    fetch->is_out_of_memory = err != HG_ETOOBIG;
    return CURL_WRITEFUNC_ERROR;
}

int hg_fetcher_create(struct hg_loop *loop, struct hg_fetcher **out_fetcher)
{
    struct hg_fetcher *fetcher = hg_calloc(1, sizeof(*fetcher));
    if (fetcher == NULL)
        return HG_ENOMEM;
    fetcher->loop = loop;
    fetcher->host_connections = HOST_CONNECTIONS;
    hg_list_init(&fetcher->fetches);
    hg_list_init(&fetcher->arrived);
    hg_list_init(&fetcher->settled);
    uv_timer_init(&loop->uv, &fetcher->timer);
    fetcher->timer.data = fetcher;
    fetcher->open_handles = 1;
    *out_fetcher = fetcher;
    return HG_OK;
}

/*
 * With the first fetch: libcurl and its TLS take milliseconds that a start without fetches need not
 * pay.
 */
static int fetcher_open(struct hg_fetcher *fetcher)
{
    if (fetcher->multi != NULL)
        return HG_OK;
    int err = hg_curl_load();
    if (err < 0)
        return err;
    CURLM *multi = hg_curl->multi_init();
    if (multi == NULL)
        return HG_ENOMEM;
    hg_curl->multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    hg_curl->multi_setopt(multi, CURLMOPT_SOCKETDATA, fetcher);
    hg_curl->multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    hg_curl->multi_setopt(multi, CURLMOPT_TIMERDATA, fetcher);
    hg_curl->multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)POOLED_CONNECTIONS);
    hg_curl->multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, fetcher->host_connections);
    hg_curl->multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    fetcher->multi = multi;
    return HG_OK;
}

void hg_fetcher_limit_host(struct hg_fetcher *fetcher, long connection_count)
{
    fetcher->host_connections = connection_count;
}

bool hg_fetch_is_sent(const struct hg_fetch *fetch)
{
    long sent_bytes = 0;
    if (fetch->easy != NULL)
        hg_curl->easy_getinfo(fetch->easy, CURLINFO_REQUEST_SIZE, &sent_bytes);
    return sent_bytes > 0;
}

/* Out of libcurl; the handle is reset and kept for another fetch. */
static void fetch_detach(struct hg_fetch *fetch)
{
    struct hg_fetcher *fetcher = fetch->fetcher;
    if (fetch->easy == NULL)
        return;
    hg_curl->multi_remove_handle(fetcher->multi, fetch->easy);
    hg_list_remove(&fetch->arrived);
    hg_list_remove(&fetch->settled);
    hg_curl->easy_reset(fetch->easy);
    if (fetcher->easy_count < EASY_POOL_MAX && !fetcher->is_closing)
        fetcher->easy_pool[fetcher->easy_count++] = fetch->easy;
    else
        hg_curl->easy_cleanup(fetch->easy);
    fetch->easy = NULL;
}

static void fetch_free(struct hg_fetch *fetch)
{
    fetch_detach(fetch);
    hg_list_remove(&fetch->link);
    hg_curl->slist_free_all(fetch->header_list);
    hg_free(fetch->request_body);
    hg_buf_finish(&fetch->headers);
    hg_buf_finish(&fetch->body);
    hg_buf_finish(&fetch->fed);
    hg_free(fetch);
}

/* libcurl is done with everything; what is left are libuv's close callbacks. */
static void fetcher_shut(struct hg_fetcher *fetcher)
{
    while (fetcher->easy_count > 0)
        hg_curl->easy_cleanup(fetcher->easy_pool[--fetcher->easy_count]);
    if (fetcher->multi != NULL)
        hg_curl->multi_cleanup(fetcher->multi);
    fetcher->multi = NULL;
    fetcher->is_shut = true;
    for (size_t i = 0; i < WATCH_BUCKETS; i++) {
        for (struct watch *watch = fetcher->watches[i]; watch != NULL; watch = watch->next)
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
    }
    uv_close((uv_handle_t *)&fetcher->timer, on_timer_closed);
}

/* The one place where done is called. */
static void fetch_end(struct hg_fetch *fetch, const struct hg_fetch_response *response)
{
    struct hg_fetcher *fetcher = fetch->fetcher;
    fetch_detach(fetch);
    hg_list_remove(&fetch->link);
    fetch->done(fetch->ctx, response);
    fetch_free(fetch);
    if (fetcher->is_closing && hg_list_is_empty(&fetcher->fetches) && !fetcher->is_shut)
        fetcher_shut(fetcher);
}

static void on_canceled(struct hg_mail *mail)
{
    struct hg_fetch *fetch = hg_container_of(mail, struct hg_fetch, mail);
    struct hg_fetch_response response = {
        .err = fetch->cancel_err,
        .err_text = hg_err_text(fetch->cancel_err),
    };
    fetch_end(fetch, &response);
}

void hg_fetch_cancel(struct hg_fetch *fetch, int err)
{
    if (fetch->cancel_err != HG_OK)
        return;
    fetch->cancel_err = err;
    fetch->mail.deliver = on_canceled;
    fetch_detach(fetch);
    hg_loop_post(fetch->fetcher->loop, &fetch->mail);
}

static void fetch_finish(struct hg_fetch *fetch, CURLcode code)
{
    struct hg_fetch_response response = {.err = hg_err_from_curl(code), .err_text = "ok"};
    long status = 0;
    bool is_sent = hg_fetch_is_sent(fetch);
    uint64_t elapsed_ms = hg_loop_now(fetch->fetcher->loop) - fetch->started_ms;

    hg_curl->easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK && !fetch->has_head) { /* libcurl lets a head that ends early pass */
        response.err = HG_EPEER;
        response.err_text = "connection closed inside the head";
    }
    if (code != CURLE_OK)
        response.err_text = fetch->error[0] != '\0' ? fetch->error : hg_curl->easy_strerror(code);
    if (fetch->refusal != NULL) {
        response.err = HG_EPROTO;
        response.err_text = fetch->refusal;
    } else if (fetch->is_too_big)
        response.err = HG_ETOOBIG;
    else if (fetch->is_out_of_memory)
        response.err = HG_ENOMEM;
    else if (code == CURLE_UNSUPPORTED_PROTOCOL && is_sent)
        response.err = HG_EPROTO; /* an answer without a status line */
    else if (fetch->open_errno != 0 && !is_sent)
        response.err = hg_err_from_errno(fetch->open_errno);
    else if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        response.is_connect_error = true;
    else if (code == CURLE_OPERATION_TIMEDOUT && !is_sent &&
             (fetch->timeout_ms == 0 || elapsed_ms + CLOCK_SLACK_MS < fetch->timeout_ms)) {
        response.err = HG_EPEER; /* no connection in time; the whole exchange had more */
        response.is_connect_error = true;
    }
    if (response.err == HG_OK) {
        response.status = (int)status;
        response.headers = hg_buf_bytes(&fetch->headers);
        response.body = hg_buf_bytes(&fetch->body);
    }
    fetch_end(fetch, &response);
}

static void fetcher_hand_out(struct hg_fetcher *fetcher)
{
    struct hg_list *link;

    while ((link = hg_list_pop_front(&fetcher->arrived)) != NULL) {
        struct hg_fetch *fetch = hg_container_of(link, struct hg_fetch, arrived);
        long status = 0;
        if (fetch->is_connected) {
            fetch->is_connected = false;
            fetch->connected(fetch->ctx, fetch->is_new_connection);
            if (fetch->cancel_err != HG_OK)
                continue;
        }
        if (fetch->moved != NULL) {
            if (hg_fetch_pieces_is_answered(fetch) && hg_list_is_empty(&fetch->settled))
                hg_list_push_back(&fetcher->settled, &fetch->settled);
            fetch->moved(fetch->ctx);
            continue;
        }
        hg_curl->easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
        if (status == 200 && fetch->body.len > 0 && fetch->data != NULL)
            hg_buf_consume(&fetch->body, fetch->data(fetch->ctx, hg_buf_bytes(&fetch->body)));
    }
}

/*
 * Calls done for what has finished. A done may close the fetcher, whose multi is then gone, and
 * with it the fetcher itself only after close callbacks: later.
 */
static void fetcher_reap(struct hg_fetcher *fetcher)
{
    CURLMsg *message;
    int left;

    fetcher_hand_out(fetcher);
    while (fetcher->multi != NULL &&
           (message = hg_curl->multi_info_read(fetcher->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct hg_fetch *fetch = fetch_of(message->easy_handle);
        CURLcode code = message->data.result;
        if (fetch->cancel_err == HG_OK) /* else its mail is under way */
            fetch_finish(fetch, code);
    }
    struct hg_list *link;
    while ((link = hg_list_pop_front(&fetcher->settled)) != NULL) {
        struct hg_fetch *fetch = hg_container_of(link, struct hg_fetch, settled);
        if (fetch->cancel_err == HG_OK && hg_fetch_pieces_is_answered(fetch))
            fetch_finish(fetch, CURLE_OK);
    }
}

static bool add_header(struct hg_fetch *fetch, const char *line)
{
    struct curl_slist *longer = hg_curl->slist_append(fetch->header_list, line);
    if (longer == NULL)
        return false;
    fetch->header_list = longer;
    return true;
}

static bool add_headers(struct hg_fetch *fetch, const struct hg_fetch_options *options)
{
    bool has_type = false;
    for (const char *const *line = options->headers; line != NULL && *line != NULL; line++) {
        if (strpbrk(*line, "\r\n") != NULL || !add_header(fetch, *line))
            return false;
        has_type = has_type || strncasecmp(*line, "Content-Type:", 13) == 0;
    }
    if (options->body.data == NULL && !options->is_fed)
        return true;
    return add_header(fetch, "Expect:") && (has_type || add_header(fetch, "Content-Type:"));
}

static int fetch_set_up(struct hg_fetch *fetch, const struct hg_fetch_options *options)
{
    CURL *easy = fetch->easy;
    const char *method = options->method != NULL ? options->method : "GET";

    if (!add_headers(fetch, options))
        return HG_EINVAL;
    hg_curl->easy_setopt(easy, CURLOPT_PRIVATE, fetch);
    hg_curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->error);
    hg_curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* A canceled look-up is left behind, not waited for. */
    hg_curl->easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    hg_curl->easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    hg_curl->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    hg_curl->easy_setopt(easy, CURLOPT_PROXY, "");
    hg_curl->easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L); /* a key may be ".." */
    hg_curl->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    hg_curl->easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
    hg_curl->easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                         options->timeout_ms > TIMEOUT_MS_MAX ? 0L : (long)options->timeout_ms);
    hg_curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_curl_body);
    hg_curl->easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
    hg_curl->easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_curl_header);
    hg_curl->easy_setopt(easy, CURLOPT_HEADERDATA, fetch);
    hg_curl->easy_setopt(easy, CURLOPT_HTTPHEADER, fetch->header_list);
    hg_fetch_set_connection(fetch, options);
    if (options->accept_compressed)
        hg_curl->easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
    hg_fetch_set_tls(easy, options);
    if (options->body.data != NULL) {
        fetch->request_body = hg_strndup(options->body.data, options->body.len);
        if (fetch->request_body == NULL)
            return HG_ENOMEM;
        hg_curl->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)options->body.len);
        hg_curl->easy_setopt(easy, CURLOPT_POSTFIELDS, fetch->request_body);
    }
    if (options->moved != NULL) {
        int err = hg_fetch_pieces_set_up(fetch, options);
        if (err < 0)
            return err;
    }
    if (strcmp(method, "HEAD") == 0) {
        hg_curl->easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (!options->accept_compressed) {
        /* A length that is too big is refused before the first byte. */
        hg_curl->easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)fetch->body_max);
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        hg_curl->easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    return hg_curl->easy_setopt(easy, CURLOPT_URL, options->url) == CURLE_OK ? HG_OK : HG_ENOMEM;
}

int hg_fetch_start(struct hg_fetcher *fetcher, const struct hg_fetch_options *options,
                   hg_fetch_fn done, void *ctx, struct hg_fetch **out_fetch)
{
    if (fetcher->is_closing)
        return HG_ECANCELED;
    if (fetcher_open(fetcher) < 0)
        return HG_ENOMEM;
    struct hg_fetch *fetch = hg_calloc(1, sizeof(*fetch));
    if (fetch == NULL)
        return HG_ENOMEM;
    hg_list_init(&fetch->link);
    hg_list_init(&fetch->arrived);
    hg_list_init(&fetch->settled);
    fetch->fetcher = fetcher;
    fetch->done = done;
    fetch->data = options->data;
    fetch->connected = options->connected;
    fetch->ctx = ctx;
    fetch->timeout_ms = options->timeout_ms;
    fetch->started_ms = fetch->heard_ms = hg_loop_now(fetcher->loop);
    hg_buf_init(&fetch->headers, HEADERS_MAX);
    fetch->body_max = options->body_max != 0 ? options->body_max : BODY_MAX_DEFAULT;
    hg_buf_init(&fetch->body, fetch->body_max);
    fetch->easy =
        fetcher->easy_count > 0 ? fetcher->easy_pool[--fetcher->easy_count] : hg_curl->easy_init();
    int err = fetch->easy == NULL ? HG_ENOMEM : fetch_set_up(fetch, options);
    if (err == HG_OK && hg_curl->multi_add_handle(fetcher->multi, fetch->easy) != CURLM_OK)
        err = HG_ENOMEM;
    if (err < 0) {
        fetch_free(fetch);
        return err;
    }
    hg_list_push_back(&fetcher->fetches, &fetch->link);
    if (out_fetch != NULL)
        *out_fetch = fetch;
    return HG_OK;
}

void hg_fetcher_close(struct hg_fetcher *fetcher, void (*closed)(void *ctx), void *ctx)
{
    if (fetcher->is_closing)
        return;
    fetcher->is_closing = true;
    fetcher->closed = closed;
    fetcher->closed_ctx = ctx;
    if (hg_list_is_empty(&fetcher->fetches)) {
        fetcher_shut(fetcher);
        return;
    }
    hg_list_for_each(link, &fetcher->fetches)
        hg_fetch_cancel(hg_container_of(link, struct hg_fetch, link), HG_ECANCELED);
}
