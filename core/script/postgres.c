#include "script/postgres.h"

#include <stdio.h>
#include "base/alloc.h"
#include "net/clock.h"

struct hg_postgres_connection {
    struct hg_pg pg;
    struct hg_list link; /* one of the pool's lists */
    struct hg_postgres *pool;
    struct hg_postgres_turn *turn; /* NULL: nobody's */
    uint64_t until_ms;             /* idle: it closes then; connecting: it has failed then */
};

static void arm(struct hg_postgres *pool);

/* A thread that was given up has no runtime any more. */
#define COUNT(thread, name)                                                                        \
    do {                                                                                           \
        if (!atomic_load(&(thread)->is_dead))                                                      \
            HG_RUNTIME_COUNT((thread)->runtime, name);                                             \
    } while (0)

/* The pool's life ---------------------------------------------------------------------------------------------------- */

static void unref(struct hg_postgres *pool)
{
    if (--pool->ref_count > 0)
        return;
    hg_pg_config_unref(pool->config);
    hg_free(pool);
}

struct hg_postgres *hg_postgres_create(struct hg_thread *thread, struct hg_pg_config *config)
{
    struct hg_postgres *pool = hg_calloc(1, sizeof(*pool));
    if (pool == NULL)
        return NULL;
    pool->thread = thread;
    pool->config = hg_pg_config_ref(config);
    pool->ref_count = 1;
    hg_list_init(&pool->idle);
    hg_list_init(&pool->busy);
    hg_list_init(&pool->connecting);
    hg_list_init(&pool->waiting);
    hg_list_push_back(&thread->postgres, &pool->link);
    return pool;
}

static void on_timer_closed(struct hg_timer *timer)
{
    unref(hg_container_of(timer, struct hg_postgres, timer));
}

static struct hg_postgres_connection *of_link(struct hg_list *link)
{
    return hg_container_of(link, struct hg_postgres_connection, link);
}

static void close_connection(struct hg_postgres_connection *connection)
{
    struct hg_postgres *pool = connection->pool;
    struct hg_thread *thread = pool->thread;

    if (connection->turn != NULL)
        connection->turn->connection = NULL;
    connection->turn = NULL;
    hg_list_remove(&connection->link);
    pool->connection_count--;
    atomic_fetch_sub(&thread->postgres_count, 1);
    switch (hg_pg_close(&connection->pg)) {
    case HG_PG_CANCELLED:
        COUNT(thread, postgres_cancelled);
        break;
    case HG_PG_NOT_CANCELLED:
        COUNT(thread, postgres_cancels_dropped);
        break;
    case HG_PG_NOTHING_ASKED:
        break;
    }
}

static void close_list(struct hg_list *list)
{
    while (!hg_list_is_empty(list))
        close_connection(of_link(list->next));
}

static void close_pool(struct hg_postgres *pool)
{
    if (pool->is_closed)
        return;
    pool->is_closed = true;
    hg_list_remove(&pool->link);
    pool->connecting_count = 0;
    close_list(&pool->connecting);
    close_list(&pool->idle);
    if (pool->timer_open)
        hg_timer_close(&pool->timer, on_timer_closed);
    pool->timer_open = false;
}

void hg_postgres_release(struct hg_postgres *pool)
{
    close_pool(pool);
    unref(pool);
}

void hg_postgres_close_all(struct hg_thread *thread)
{
    while (!hg_list_is_empty(&thread->postgres))
        close_pool(hg_container_of(thread->postgres.next, struct hg_postgres, link));
}

/*
 * What there is goes to those who wait, from the loop: not out of the script, or the end of a task, that gave it back.
 */
static void wake(struct hg_postgres *pool)
{
    if (pool->is_closed || pool->waiting_count == 0)
        return;
    pool->is_woken = true;
    arm(pool);
}

/* Turns -------------------------------------------------------------------------------------------------------------- */

static bool give_up(struct hg_op *op)
{
    (void)op;
    return true;
}

/* It is a part of its turn. */
static void destroy_op(struct hg_op *op)
{
    (void)op;
}

static void free_turn(struct hg_postgres_turn *turn)
{
    if (turn->connection != NULL)
        turn->connection->turn = NULL;
    else if (!hg_list_is_empty(&turn->link)) {
        hg_list_remove(&turn->link);
        turn->pool->waiting_count--;
    }
    if (turn->task->postgres_turn == turn)
        turn->task->postgres_turn = NULL;
    unref(turn->pool);
    hg_free(turn);
}

/* Back into the pool, for the first who waits; or closed, where the next could find something of the last in it. */
static void give_back(struct hg_postgres_connection *connection)
{
    struct hg_postgres *pool = connection->pool;

    connection->turn = NULL;
    if (pool->is_closed || !hg_pg_is_idle(&connection->pg)) {
        wake(pool);
        close_connection(connection);
        return;
    }
    hg_list_remove(&connection->link);
    connection->until_ms = hg_time_add(hg_clock_boot_ms(), pool->idle_ms);
    hg_list_push_front(&pool->idle, &connection->link);
    wake(pool);
    arm(pool);
}

void hg_postgres_end_turn(struct hg_task *task)
{
    struct hg_postgres_turn *turn = task->postgres_turn;

    if (turn == NULL)
        return;
    struct hg_postgres_connection *connection = turn->connection;
    free_turn(turn);
    if (connection != NULL)
        give_back(connection);
}

static void take_idle(struct hg_postgres_turn *turn, struct hg_postgres_connection *connection)
{
    hg_list_remove(&connection->link);
    hg_list_push_back(&turn->pool->busy, &connection->link);
    connection->turn = turn;
    turn->connection = connection;
}

/* An idle one that the server has not left. */
static struct hg_postgres_connection *find_idle(struct hg_postgres *pool)
{
    while (!hg_list_is_empty(&pool->idle)) {
        struct hg_postgres_connection *connection = of_link(pool->idle.next);
        if (hg_pg_is_alive(&connection->pg))
            return connection;
        COUNT(pool->thread, postgres_lost);
        close_connection(connection);
    }
    return NULL;
}

static void fail_waiting(struct hg_postgres *pool, const char *text)
{
    struct hg_list failed;

    hg_list_init(&failed);
    hg_list_splice_back(&failed, &pool->waiting);
    pool->ref_count++;
    while (!hg_list_is_empty(&failed)) {
        struct hg_postgres_turn *turn = hg_container_of(failed.next, struct hg_postgres_turn, link);
        struct hg_postgres_answer answer = {.error = text, .code = "unavailable"};
        struct hg_task *task = hg_task_answered(pool->thread, &turn->op);
        COUNT(pool->thread, postgres_failures);
        free_turn(turn);
        if (task != NULL)
            hg_task_resume(task, hg_postgres_push_acquired, &answer);
    }
    unref(pool);
}

/* Connections --------------------------------------------------------------------------------------------------------- */

static struct hg_postgres_connection *of_pg(struct hg_pg *pg)
{
    return hg_container_of(pg, struct hg_postgres_connection, pg);
}

static void on_connected(struct hg_pg *pg, int err)
{
    struct hg_postgres_connection *connection = of_pg(pg);
    struct hg_postgres *pool = connection->pool;
    char text[sizeof(pg->error)];

    pool->connecting_count--;
    if (err == HG_OK) {
        COUNT(pool->thread, postgres_opened);
        give_back(connection);
        return;
    }
    COUNT(pool->thread, postgres_connect_failures);
    snprintf(text, sizeof(text), "%s", pg->error);
    close_connection(connection);
    if (pool->connection_count == 0)
        fail_waiting(pool, text);
}

static void on_lost(struct hg_pg *pg)
{
    struct hg_postgres *pool = of_pg(pg)->pool;

    COUNT(pool->thread, postgres_lost);
    wake(pool);
    close_connection(of_pg(pg));
}

static bool is_of_class(const char *sqlstate, const char *class)
{
    return strncmp(sqlstate, class, strlen(class)) == 0;
}

/* The class of an error for what the server, or libpq, says. */
static const char *code_of(int err, const char *sqlstate)
{
    if (err == HG_ETOOBIG)
        return "too_large";
    if (is_of_class(sqlstate, "57014")) /* statement_timeout */
        return "timeout";
    if (is_of_class(sqlstate, "42501"))
        return "denied";
    if (err == HG_EINVAL && is_of_class(sqlstate, "08P01")) /* what a parameter's bytes are not */
        return "internal";
    /* It has to do with the server's state, not with the statement: another time it may work. */
    if (err == HG_EPEER || err == HG_ENOMEM || is_of_class(sqlstate, "08") ||
        is_of_class(sqlstate, "25006") || is_of_class(sqlstate, "40") ||
        is_of_class(sqlstate, "53") || is_of_class(sqlstate, "55P03") ||
        is_of_class(sqlstate, "57") || is_of_class(sqlstate, "58"))
        return "unavailable";
    return "internal";
}

static void describe(const struct hg_pg *pg, int err, struct hg_postgres_answer *answer)
{
    if (err == HG_ETOOBIG)
        snprintf(answer->text, sizeof(answer->text), "the answer is larger than %zu bytes",
                 pg->max_bytes);
    else
        snprintf(answer->text, sizeof(answer->text), "%s", pg->error);
    answer->error = answer->text;
    memcpy(answer->sqlstate, pg->sqlstate, sizeof(answer->sqlstate));
    answer->code = code_of(err, pg->sqlstate);
}

static void on_done(struct hg_pg *pg, int err)
{
    struct hg_postgres_connection *connection = of_pg(pg);
    struct hg_postgres *pool = connection->pool;
    struct hg_postgres_turn *turn = connection->turn;
    struct hg_postgres_answer answer = {0};

    if (err < 0) {
        COUNT(pool->thread, postgres_failures);
        describe(pg, err, &answer);
    }
    if (err == HG_ETOOBIG)
        COUNT(pool->thread, postgres_too_large);
    /* Out of the connection before anybody else gets it, and before the task asks again. */
    struct hg_pg_answer rows = pg->answer;
    memset(&pg->answer, 0, sizeof(pg->answer));
    answer.rows = &rows;
    struct hg_task *task = hg_task_answered(pool->thread, &turn->op);
    free_turn(turn);
    give_back(connection);
    if (task != NULL)
        hg_task_resume(task, hg_postgres_push_answer, &answer);
    hg_pg_answer_clear(&rows);
}

static void on_closed(struct hg_pg *pg)
{
    struct hg_postgres_connection *connection = of_pg(pg);
    struct hg_postgres *pool = connection->pool;

    hg_free(connection);
    unref(pool);
}

static const struct hg_pg_calls calls = {
    .connected = on_connected,
    .done = on_done,
    .lost = on_lost,
    .closed = on_closed,
};

/* One more, for whoever waits. HG_PENDING, or an error with words in text. */
static int open_connection(struct hg_postgres *pool, char *text, size_t size)
{
    struct hg_thread *thread = pool->thread;

    if (atomic_load(&thread->postgres_count) >= HG_POSTGRES_MAX) {
        COUNT(thread, postgres_refused);
        snprintf(text, size, "too many connections to PostgreSQL");
        return HG_ELIMIT;
    }
    struct hg_postgres_connection *connection = hg_calloc(1, sizeof(*connection));
    snprintf(text, size, "%s", hg_err_text(HG_ENOMEM));
    if (connection == NULL)
        return HG_ENOMEM;
    connection->pool = pool;
    connection->until_ms = hg_time_add(hg_clock_boot_ms(), pool->timeout_ms);
    hg_pg_init(&connection->pg, &thread->loop, pool->config, &calls);
    hg_list_push_back(&pool->connecting, &connection->link);
    pool->connection_count++;
    pool->ref_count++;
    atomic_fetch_add(&thread->postgres_count, 1);
    int err = hg_pg_connect(&connection->pg);
    if (err < 0) {
        COUNT(thread, postgres_connect_failures);
        snprintf(text, size, "%s", connection->pg.error);
        close_connection(connection);
        return err;
    }
    pool->connecting_count++;
    return HG_PENDING;
}

/* The first who waits has a connection. */
static void hand_over(struct hg_postgres *pool, struct hg_postgres_connection *connection)
{
    struct hg_postgres_turn *turn =
        hg_container_of(hg_list_pop_front(&pool->waiting), struct hg_postgres_turn, link);
    struct hg_postgres_answer answer = {0};

    pool->waiting_count--;
    take_idle(turn, connection);
    struct hg_task *task = hg_task_answered(pool->thread, &turn->op);
    if (task != NULL)
        hg_task_resume(task, hg_postgres_push_acquired, &answer);
}

/* Idle connections go to those who wait, and for the others new ones are made, as far as there may be more. */
static void hand_out(struct hg_postgres *pool)
{
    char text[512];
    struct hg_postgres_connection *connection;
    int err = HG_PENDING;

    while (pool->waiting_count > 0 && (connection = find_idle(pool)) != NULL)
        hand_over(pool, connection);
    while (err == HG_PENDING && !pool->is_closed && !atomic_load(&pool->thread->is_dead) &&
           pool->waiting_count > pool->connecting_count &&
           pool->connection_count < pool->connection_max)
        err = open_connection(pool, text, sizeof(text));
    if (err < 0 && pool->connection_count == 0)
        fail_waiting(pool, text);
}

/* Time ------------------------------------------------------------------------------------------------------------------ */

static uint64_t earliest(struct hg_list *list, uint64_t at_ms)
{
    hg_list_for_each(it, list)
    {
        if (of_link(it)->until_ms < at_ms)
            at_ms = of_link(it)->until_ms;
    }
    return at_ms;
}

static void on_timer(struct hg_timer *timer)
{
    struct hg_postgres *pool = hg_container_of(timer, struct hg_postgres, timer);
    uint64_t now_ms = hg_clock_boot_ms();
    bool is_late = false;

    pool->ref_count++;
    hg_list_for_each_safe(it, &pool->idle)
    {
        if (of_link(it)->until_ms <= now_ms)
            close_connection(of_link(it));
    }
    hg_list_for_each_safe(it, &pool->connecting)
    {
        if (of_link(it)->until_ms > now_ms)
            continue;
        COUNT(pool->thread, postgres_connect_failures);
        pool->connecting_count--;
        close_connection(of_link(it));
        is_late = true;
    }
    if (is_late && pool->connection_count == 0)
        fail_waiting(pool, "no connection in time");
    if (pool->is_woken) {
        pool->is_woken = false;
        hand_out(pool);
    }
    if (!pool->is_closed)
        arm(pool);
    unref(pool);
}

/* The timer rings when the first of the idle and connecting ones has to go, or at once. */
static void arm(struct hg_postgres *pool)
{
    uint64_t now_ms = hg_clock_boot_ms();
    uint64_t at_ms =
        pool->is_woken ? now_ms : earliest(&pool->connecting, earliest(&pool->idle, HG_FOREVER));

    if (!pool->timer_open) {
        hg_timer_init(&pool->timer, &pool->thread->loop);
        pool->timer_open = true;
        pool->ref_count++;
    }
    if (at_ms == HG_FOREVER) {
        hg_timer_stop(&pool->timer);
        return;
    }
    uv_update_time(&pool->thread->loop.uv); /* the script may have run for a while */
    hg_timer_start(&pool->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0);
}

static void on_expired(struct hg_op *op, struct hg_task *task)
{
    struct hg_postgres_turn *turn = hg_container_of(op, struct hg_postgres_turn, op);
    bool was_asking = turn->connection != NULL;
    struct hg_postgres_answer answer = {
        .error = was_asking ? "no answer in time" : "no connection in time", .code = "timeout"};

    COUNT(turn->pool->thread, postgres_failures);
    hg_postgres_end_turn(task);
    hg_task_resume(task, was_asking ? hg_postgres_push_answer : hg_postgres_push_acquired, &answer);
}

/* For scripts ------------------------------------------------------------------------------------------------------------- */

static struct hg_postgres_turn *create_turn(struct hg_task *task, struct hg_postgres *pool)
{
    struct hg_postgres_turn *turn = hg_calloc(1, sizeof(*turn));
    if (turn == NULL)
        return NULL;
    turn->op.give_up = give_up;
    turn->op.destroy = destroy_op;
    turn->op.expired = on_expired;
    hg_list_init(&turn->link);
    turn->pool = pool;
    turn->task = task;
    turn->deadline_ms = hg_time_add(hg_clock_boot_ms(), pool->timeout_ms);
    pool->ref_count++;
    task->postgres_turn = turn;
    return turn;
}

int hg_postgres_acquire(struct hg_task *task, struct hg_postgres *pool,
                        struct hg_postgres_answer *answer)
{
    struct hg_thread *thread = pool->thread;

    hg_postgres_end_turn(task); /* of a statement whose coroutine was lost */
    answer->code = "unavailable";
    answer->error = hg_err_text(HG_ENOMEM);
    HG_RUNTIME_COUNT(thread->runtime, postgres_queries);
    struct hg_postgres_turn *turn = create_turn(task, pool);
    if (turn == NULL)
        return HG_ENOMEM;
    struct hg_postgres_connection *connection = pool->waiting_count == 0 ? find_idle(pool) : NULL;
    if (connection != NULL) {
        take_idle(turn, connection);
        return HG_OK;
    }
    int err = HG_PENDING;
    if (pool->waiting_count >= HG_POSTGRES_WAITING_MAX) {
        HG_RUNTIME_COUNT(thread->runtime, postgres_refused);
        answer->error = "too many wait for a connection";
        err = HG_ELIMIT;
    } else if (pool->waiting_count + 1 > pool->connecting_count &&
               pool->connection_count < pool->connection_max) {
        err = open_connection(pool, answer->text, sizeof(answer->text));
        answer->error = answer->text;
        if (err < 0 && pool->connection_count > 0)
            err = HG_PENDING;
    }
    if (err < 0) {
        free_turn(turn);
        return err;
    }
    hg_list_push_back(&pool->waiting, &turn->link);
    pool->waiting_count++;
    HG_RUNTIME_COUNT(thread->runtime, postgres_waits);
    wake(pool);
    return HG_PENDING;
}

int hg_postgres_ask(struct hg_task *task, const char *sql, const struct hg_pg_parameter *parameters,
                    size_t count, struct hg_postgres_answer *answer)
{
    struct hg_postgres_turn *turn = task->postgres_turn;
    struct hg_pg *pg = &turn->connection->pg;

    int err = hg_pg_query(pg, sql, parameters, count, turn->pool->max_bytes);
    if (err == HG_PENDING)
        return err;
    describe(pg, err, answer);
    HG_RUNTIME_COUNT(task->runtime, postgres_failures);
    hg_postgres_end_turn(task);
    return err;
}
