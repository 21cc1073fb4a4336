#include "net/pg.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include "base/alloc.h"
#include "base/err.h"
#include "net/pq_library.h"

/* Addresses of all names together, and what their lists may take. */
#define ADDRESSES_MAX 32
#define LIST_MAX      8192
/* Beyond the rows: what libpq reads ahead. */
#define AHEAD_BYTES 65536

/* libpq may go on with another socket while it connects, so a watch is replaced while the connection lives. */
struct hg_pg_watch {
    uv_poll_t poll;
    struct hg_pg *pg;
    int fd;
};

static void on_ready(uv_poll_t *poll, int status, int events);
static int resolve_next(struct hg_pg *pg);

void hg_pg_init(struct hg_pg *pg, struct hg_loop *loop, struct hg_pg_config *config,
                const struct hg_pg_calls *calls)
{
    *pg = (struct hg_pg){.loop = loop, .calls = calls, .config = hg_pg_config_ref(config)};
    hg_buf_init(&pg->hosts, LIST_MAX);
    hg_buf_init(&pg->addresses, LIST_MAX);
    hg_buf_init(&pg->ports, LIST_MAX);
}

static int fail(struct hg_pg *pg, int err, const char *text)
{
    size_t len = strcspn(text, "\n"); /* what follows are details and where in the statement */

    snprintf(pg->error, sizeof(pg->error), "%.*s", (int)len, text);
    return err;
}

static int fail_conn(struct hg_pg *pg)
{
    const char *text = hg_pq->errorMessage(pg->conn);
    return fail(pg, HG_EPEER, text[0] != '\0' ? text : "the connection was lost");
}

static void finish_if_done(struct hg_pg *pg)
{
    if (pg->watch_count > 0)
        return;
    hg_buf_finish(&pg->hosts);
    hg_buf_finish(&pg->addresses);
    hg_buf_finish(&pg->ports);
    hg_pg_answer_clear(&pg->answer);
    hg_pg_config_unref(pg->config);
    pg->config = NULL;
    pg->calls->closed(pg);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct hg_pg_watch *watch = handle->data;
    struct hg_pg *pg = watch->pg;

    hg_free(watch);
    pg->watch_count--;
    if (pg->state == HG_PG_CLOSING)
        finish_if_done(pg);
}

static void drop_watch(struct hg_pg *pg)
{
    if (pg->watch != NULL)
        uv_close((uv_handle_t *)&pg->watch->poll, on_watch_closed);
    pg->watch = NULL;
}

/* From now on on_ready is called for events of the socket that libpq has now. */
static int watch(struct hg_pg *pg, int events)
{
    int fd = hg_pq->socket(pg->conn);

    if (fd < 0)
        return fail_conn(pg);
    if (pg->watch != NULL && pg->watch->fd != fd)
        drop_watch(pg);
    if (pg->watch == NULL) {
        struct hg_pg_watch *made = hg_calloc(1, sizeof(*made));
        if (made == NULL)
            return fail(pg, HG_ENOMEM, hg_err_text(HG_ENOMEM));
        int rc = uv_poll_init(&pg->loop->uv, &made->poll, fd);
        if (rc < 0) {
            hg_free(made);
            return fail(pg, hg_err_from_uv(rc), uv_strerror(rc));
        }
        made->pg = pg;
        made->fd = fd;
        made->poll.data = made;
        pg->watch = made;
        pg->watch_count++;
    }
    uv_poll_start(&pg->watch->poll, events, on_ready);
    return HG_OK;
}

/* Messages of the server that are no errors. */
static void on_notice(void *ctx, const PGresult *result)
{
    (void)ctx;
    (void)result;
}

/* Connecting -------------------------------------------------------------------------------------------------------- */

static int add_address(struct hg_pg *pg, const struct hg_pg_place *place, const char *address)
{
    const char *comma = pg->hosts.len > 0 ? "," : "";
    int err = hg_buf_printf(&pg->hosts, "%s%s", comma, place->host);
    if (err == HG_OK)
        err = hg_buf_printf(&pg->addresses, "%s%s", comma, address);
    if (err == HG_OK)
        err = hg_buf_printf(&pg->ports, "%s%s", comma, place->port);
    return err;
}

static int start_libpq(struct hg_pg *pg)
{
    const struct hg_pg_config *config = pg->config;
    const char *keywords[HG_PG_OPTIONS_MAX + 1] = {NULL}, *values[HG_PG_OPTIONS_MAX + 1] = {NULL};
    size_t count = config->option_count;

    if (pg->hosts.len == 0)
        return HG_EADDR; /* and the words are there */
    if (hg_buf_append_char(&pg->hosts, '\0') < 0 || hg_buf_append_char(&pg->addresses, '\0') < 0 ||
        hg_buf_append_char(&pg->ports, '\0') < 0)
        return fail(pg, HG_ENOMEM, hg_err_text(HG_ENOMEM));
    for (size_t i = 0; i < count; i++) {
        keywords[i] = config->keywords[i];
        values[i] = config->values[i];
    }
    const struct hg_pg_option more[] = {
        {"host", pg->hosts.data},
        {"hostaddr", pg->addresses.data},
        {"port", pg->ports.data},
        {"fallback_application_name", "hgcache"},
    };
    for (size_t i = 0; i < HG_COUNT(more); i++) {
        keywords[count + i] = more[i].keyword;
        values[count + i] = more[i].value;
    }
    pg->conn = hg_pq->connectStartParams(keywords, values, 0);
    if (pg->conn == NULL)
        return fail(pg, HG_ENOMEM, hg_err_text(HG_ENOMEM));
    hg_pq->setNoticeReceiver(pg->conn, on_notice, NULL);
    if (hg_pq->status(pg->conn) == CONNECTION_BAD)
        return fail_conn(pg);
    pg->state = HG_PG_CONNECTING;
    return watch(pg, UV_WRITABLE);
}

static void connect_failed(struct hg_pg *pg, int err)
{
    pg->state = HG_PG_BROKEN;
    drop_watch(pg);
    pg->calls->connected(pg, err);
}

static int add_resolved(struct hg_pg *pg, const struct hg_pg_place *place, struct hg_bytes found)
{
    int err = HG_OK;

    for (unsigned count = 0;
         found.len > 0 && count < ADDRESSES_MAX / HG_PG_HOSTS_MAX && err == HG_OK; count++) {
        size_t len = strlen(found.data) + 1;
        err = add_address(pg, place, found.data);
        found = hg_bytes(found.data + len, found.len - len);
    }
    return err;
}

static void note_unknown(struct hg_pg *pg, const struct hg_pg_place *place, const char *why)
{
    snprintf(pg->error, sizeof(pg->error), "host \"%s\" could not be resolved: %s", place->host,
             why);
}

static void on_resolved(struct hg_dns_waiter *waiter, int err, struct hg_bytes found,
                        const char *error)
{
    struct hg_pg *pg = hg_container_of(waiter, struct hg_pg, resolving);
    const struct hg_pg_place *place = &pg->config->places[pg->place_index++];

    if (err < 0) {
        note_unknown(pg, place, error);
    } else {
        err = add_resolved(pg, place, found);
        if (err < 0) {
            connect_failed(pg, fail(pg, err, hg_err_text(err)));
            return;
        }
    }
    err = resolve_next(pg);
    if (err < 0)
        connect_failed(pg, err);
}

/* Goes on to the next name, or lets libpq begin with what there is. */
static int resolve_next(struct hg_pg *pg)
{
    const char *error;
    int err = HG_OK;

    pg->state = HG_PG_RESOLVING;
    for (; pg->place_index < pg->config->place_count && err == HG_OK; pg->place_index++) {
        const struct hg_pg_place *place = &pg->config->places[pg->place_index];
        if (place->address != NULL || hg_pg_is_folder(place)) {
            err = add_address(pg, place, place->address != NULL ? place->address : "");
        } else if (hg_dns_resolve_host(pg->loop, place->host, &pg->resolving, on_resolved, &error) <
                   0) {
            note_unknown(pg, place, error); /* another place may do */
        } else {
            return HG_OK;
        }
    }
    return err < 0 ? fail(pg, err, hg_err_text(err)) : start_libpq(pg);
}

int hg_pg_connect(struct hg_pg *pg)
{
    int err = resolve_next(pg);
    if (err == HG_OK)
        return HG_PENDING;
    pg->state = HG_PG_BROKEN;
    return err;
}

static void go_on_connecting(struct hg_pg *pg)
{
    /* It may close its socket and open another, perhaps of the same number. */
    uv_poll_stop(&pg->watch->poll);
    PostgresPollingStatusType status = hg_pq->connectPoll(pg->conn);
    int err = HG_OK;
    if (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING) {
        err = watch(pg, status == PGRES_POLLING_READING ? UV_READABLE : UV_WRITABLE);
    } else if (status == PGRES_POLLING_OK) {
        pg->state = HG_PG_IDLE;
        if (hg_pq->setnonblocking(pg->conn, 1) != 0)
            err = fail_conn(pg);
        else
            err = watch(pg, UV_READABLE);
        if (err == HG_OK)
            pg->calls->connected(pg, HG_OK);
    } else {
        err = fail_conn(pg);
    }
    if (err < 0)
        connect_failed(pg, err);
}

/* Asking ------------------------------------------------------------------------------------------------------------ */

static int flush(struct hg_pg *pg)
{
    int left = hg_pq->flush(pg->conn);
    if (left < 0)
        return fail_conn(pg);
    return watch(pg, left > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

int hg_pg_query(struct hg_pg *pg, const char *sql, const struct hg_pg_parameter *parameters,
                size_t count, size_t max_bytes)
{
    const char *values[HG_PG_PARAMETERS_MAX];
    int lengths[HG_PG_PARAMETERS_MAX], formats[HG_PG_PARAMETERS_MAX];

    if (count > HG_PG_PARAMETERS_MAX)
        return fail(pg, HG_EINVAL, "too many parameters");
    for (size_t i = 0; i < count; i++) {
        if (parameters[i].len > INT32_MAX / 2)
            return fail(pg, HG_ETOOBIG, "a parameter is too large");
        values[i] = parameters[i].data;
        lengths[i] = (int)parameters[i].len;
        formats[i] = parameters[i].is_binary;
    }
    hg_pg_answer_clear(&pg->answer);
    pg->answer_err = HG_OK;
    pg->arrived_bytes = 0;
    pg->max_bytes = max_bytes;
    pg->sqlstate[0] = pg->error[0] = '\0';
    if (!hg_pq->sendQueryParams(pg->conn, sql, (int)count, NULL, values, lengths, formats, 0)) {
        pg->state = HG_PG_BROKEN;
        return fail_conn(pg);
    }
    hg_pq->setSingleRowMode(pg->conn);
    pg->state = HG_PG_ASKING;
    int err = flush(pg);
    if (err < 0) {
        pg->state = HG_PG_BROKEN;
        return err;
    }
    return HG_PENDING;
}

static void done(struct hg_pg *pg, int err)
{
    if (err != HG_OK)
        hg_pg_answer_clear(&pg->answer);
    pg->state = err == HG_OK || err == HG_EINVAL ? HG_PG_IDLE : HG_PG_BROKEN;
    if (pg->state == HG_PG_BROKEN)
        drop_watch(pg);
    pg->calls->done(pg, err);
}

/* Only the first thing that goes wrong is told. */
static void note_error(struct hg_pg *pg, const PGresult *result)
{
    const char *sqlstate = hg_pq->resultErrorField(result, PG_DIAG_SQLSTATE);
    const char *severity = hg_pq->resultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *text = hg_pq->resultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (pg->answer_err != HG_OK)
        return;
    /* Without a code it is libpq's own: mostly that the connection is gone. */
    bool is_lost = sqlstate == NULL || (severity != NULL && strcmp(severity, "ERROR") != 0);
    pg->answer_err = fail(pg, is_lost ? HG_EPEER : HG_EINVAL,
                          text != NULL ? text : hg_pq->resultErrorMessage(result));
    snprintf(pg->sqlstate, sizeof(pg->sqlstate), "%s", sqlstate != NULL ? sqlstate : "");
}

static void take_result(struct hg_pg *pg, const PGresult *result)
{
    switch (hg_pq->resultStatus(result)) {
    case PGRES_SINGLE_TUPLE:
    case PGRES_TUPLES_OK: {
        if (pg->answer_err != HG_OK)
            return;
        int err = hg_pg_answer_add(&pg->answer, result, pg->max_bytes);
        if (err < 0)
            pg->answer_err = fail(pg, err, hg_err_text(err));
        break;
    }
    case PGRES_COMMAND_OK: {
        unsigned long long count = 0;
        const char *text = hg_pq->cmdTuples((PGresult *)result);
        hg_bytes_to_u64(hg_bytes_str(text), &count);
        pg->answer.changed_count = count;
        break;
    }
    case PGRES_EMPTY_QUERY:
        break;
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_FATAL_ERROR:
        note_error(pg, result);
        break;
    default:
        if (pg->answer_err == HG_OK)
            pg->answer_err = fail(pg, HG_EPROTO, "COPY is not supported");
        break;
    }
}

/* Whether the connection is of no more use, whatever comes. */
static bool is_hopeless(const struct hg_pg *pg)
{
    return pg->answer_err != HG_OK && pg->answer_err != HG_EINVAL && pg->answer_err != HG_EPEER;
}

static void take_results(struct hg_pg *pg)
{
    while (!hg_pq->isBusy(pg->conn)) {
        PGresult *result = hg_pq->getResult(pg->conn);
        if (result == NULL) {
            if (pg->answer_err == HG_OK && hg_pq->status(pg->conn) == CONNECTION_BAD)
                pg->answer_err = fail_conn(pg);
            done(pg, pg->answer_err);
            return;
        }
        take_result(pg, result);
        hg_pq->clear(result);
        pg->arrived_bytes = 0;
        if (is_hopeless(pg)) {
            done(pg, pg->answer_err);
            return;
        }
    }
}

/* Of a row that is not whole yet, libpq tells nothing. */
static bool is_too_much(struct hg_pg *pg)
{
    int count = 0;

    if (ioctl(pg->watch->fd, FIONREAD, &count) == 0 && count > 0)
        pg->arrived_bytes += (size_t)count;
    /* bytea takes two digits for each byte. */
    return pg->arrived_bytes > AHEAD_BYTES && pg->arrived_bytes / 2 > pg->max_bytes;
}

static void read_answer(struct hg_pg *pg)
{
    if (is_too_much(pg)) {
        done(pg, fail(pg, HG_ETOOBIG, hg_err_text(HG_ETOOBIG)));
        return;
    }
    bool is_open = hg_pq->consumeInput(pg->conn) != 0;
    /* A TLS record may be larger than what libpq asked for; the rest of it makes no socket readable. */
    if (is_open && hg_pq->sslInUse(pg->conn) && hg_pq->isBusy(pg->conn))
        is_open = hg_pq->consumeInput(pg->conn) != 0;
    if (!is_open && hg_pq->isBusy(pg->conn)) {
        /* Why the server ended it tells more than that it did. */
        done(pg, pg->answer_err == HG_EPEER ? HG_EPEER : fail_conn(pg));
        return;
    }
    int err = is_open ? flush(pg) : HG_OK;
    if (err < 0)
        done(pg, err);
    else
        take_results(pg);
}

bool hg_pg_is_idle(const struct hg_pg *pg)
{
    return pg->state == HG_PG_IDLE && hg_pq->transactionStatus(pg->conn) == PQTRANS_IDLE;
}

bool hg_pg_is_alive(struct hg_pg *pg)
{
    if (!hg_pg_is_idle(pg))
        return false;
    bool is_open = hg_pq->consumeInput(pg->conn) != 0;
    for (PGnotify *notice; (notice = hg_pq->notifies(pg->conn)) != NULL;)
        hg_pq->freemem(notice);
    return is_open && !hg_pq->isBusy(pg->conn) && hg_pq->status(pg->conn) == CONNECTION_OK;
}

static void read_idle(struct hg_pg *pg)
{
    if (hg_pg_is_alive(pg))
        return;
    pg->state = HG_PG_BROKEN;
    drop_watch(pg);
    pg->calls->lost(pg);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct hg_pg *pg = ((struct hg_pg_watch *)poll->data)->pg;
    (void)status; /* libpq finds out what it is */

    if (pg->state == HG_PG_CONNECTING) {
        go_on_connecting(pg);
    } else if (pg->state == HG_PG_IDLE) {
        read_idle(pg);
    } else if (pg->state == HG_PG_ASKING) {
        int err = status < 0 || (events & UV_READABLE) != 0 ? HG_OK : flush(pg);
        if (err < 0)
            done(pg, err);
        else if (status < 0 || (events & UV_READABLE) != 0)
            read_answer(pg);
    }
}

/* Ending ------------------------------------------------------------------------------------------------------------ */

enum hg_pg_ending hg_pg_close(struct hg_pg *pg)
{
    enum hg_pg_ending ending = HG_PG_NOTHING_ASKED;

    if (pg->state == HG_PG_CLOSING)
        return ending;
    if (pg->state == HG_PG_ASKING) {
        PGcancel *cancel = hg_pq->getCancel(pg->conn);
        bool is_begun =
            cancel != NULL &&
            hg_pg_cancel(cancel, fcntl(hg_pq->socket(pg->conn), F_DUPFD_CLOEXEC, 0));
        ending = is_begun ? HG_PG_CANCELLED : HG_PG_NOT_CANCELLED;
    }
    pg->state = HG_PG_CLOSING;
    drop_watch(pg);
    hg_dns_cancel(&pg->resolving);
    if (pg->conn != NULL)
        hg_pq->finish(pg->conn);
    pg->conn = NULL;
    finish_if_done(pg);
    return ending;
}
