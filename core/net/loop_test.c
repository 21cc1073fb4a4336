#include "net/test_support.h"

#include <signal.h>

#define SENDERS    4
#define MAILS_EACH 100000

struct numbered {
    struct hg_mail mail;
    unsigned sender, number;
};

static struct hg_loop receiver;
static struct numbered *mails[SENDERS];
static unsigned next_number[SENDERS];
static _Atomic unsigned received;
static _Atomic unsigned out_of_order;

static void on_numbered(struct hg_mail *mail)
{
    struct numbered *numbered = hg_container_of(mail, struct numbered, mail);
    if (next_number[numbered->sender]++ != numbered->number || hg_loop_current() != &receiver)
        out_of_order++;
    if (++received == SENDERS * MAILS_EACH)
        hg_loop_stop(&receiver);
}

static void *send_mails(void *arg)
{
    unsigned sender = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < MAILS_EACH; i++) {
        struct numbered *numbered = &mails[sender][i];
        numbered->mail.deliver = on_numbered;
        numbered->sender = sender;
        numbered->number = i;
        hg_loop_post(&receiver, &numbered->mail);
    }
    return NULL;
}

static void test_all_mail_of_four_threads_arrives_in_order(void **state)
{
    (void)state;
    pthread_t threads[SENDERS];
    assert_int_equal(hg_loop_init(&receiver, "receiver"), HG_OK);
    for (unsigned i = 0; i < SENDERS; i++)
        mails[i] = calloc(MAILS_EACH, sizeof(struct numbered));
    assert_int_equal(hg_loop_start(&receiver, NULL), HG_OK);
    for (unsigned i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_mails, (void *)(uintptr_t)i), 0);
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    hg_loop_join(&receiver);
    assert_int_equal(received, SENDERS * MAILS_EACH);
    assert_int_equal(out_of_order, 0);
    assert_int_equal(hg_loop_finish(&receiver), 0);
    for (unsigned i = 0; i < SENDERS; i++)
        free(mails[i]);
}

static struct hg_loop other;
static struct numbered held[6];
static unsigned held_received[2];
static bool came_early;

static void on_held(struct hg_mail *mail)
{
    struct numbered *numbered = hg_container_of(mail, struct numbered, mail);
    out_of_order += numbered->number != held_received[numbered->sender]++;
    if (numbered->sender == 0 && held_received[0] == 3)
        hg_loop_stop(&receiver);
}

static void hold_and_release(struct hg_loop *loop)
{
    hg_loop_hold(loop);
    for (unsigned i = 0; i < HG_COUNT(held); i++) {
        held[i] = (struct numbered){.mail = {.deliver = on_held}, .sender = i % 2, .number = i / 2};
        hg_loop_post_together(i % 2 == 0 ? loop : &other, &held[i].mail);
        came_early |= atomic_load(&loop->inbox) != NULL || atomic_load(&other.inbox) != NULL;
    }
    hg_loop_release(loop);
}

static void test_held_mail_goes_to_each_loop_at_once(void **state)
{
    (void)state;
    assert_int_equal(hg_loop_init(&receiver, "holds"), HG_OK);
    assert_int_equal(hg_loop_init(&other, "other"), HG_OK);
    assert_int_equal(hg_loop_start(&receiver, hold_and_release), HG_OK);
    hg_loop_join(&receiver);
    assert_false(came_early);
    assert_int_equal(held_received[0], 3);
    uv_run(&other.uv, UV_RUN_NOWAIT);
    assert_int_equal(held_received[1], 3);
    assert_int_equal(out_of_order, 0);
    assert_int_equal(hg_loop_finish(&receiver), 0);
    assert_int_equal(hg_loop_finish(&other), 0);
}

struct item {
    struct hg_list link;
};
static unsigned items_received;

static void on_items(struct hg_loop *loop, struct hg_list *list)
{
    (void)loop;
    while (hg_list_pop_front(list) != NULL)
        items_received++;
}

static void *send_items(void *arg)
{
    struct item *items = arg;
    struct hg_list batch;
    hg_list_init(&batch);
    for (unsigned i = 0; i < 1000; i++) {
        hg_list_push_back(&batch, &items[i].link);
        if (i % 7 == 6)
            hg_loop_post_list(&receiver, &batch);
    }
    hg_loop_post_list(&receiver, &batch);
    return NULL;
}

struct turn_work {
    struct hg_turn_end item;
    struct hg_mail mail;
    struct hg_loop *loop;
    unsigned *next, number;
};

static void on_turn_work(struct hg_turn_end *item)
{
    struct turn_work *work = hg_container_of(item, struct turn_work, item);
    work->number = ++*work->next;
}

/* Asks for the end of the turn, and is not there before. */
static void on_turn_mail(struct hg_mail *mail)
{
    struct turn_work *work = hg_container_of(mail, struct turn_work, mail);
    hg_loop_at_turn_end(work->loop, &work->item, on_turn_work);
    assert_int_equal(work->number, 0);
}

static void test_work_for_the_end_of_a_turn(void **state)
{
    (void)state;
    struct hg_loop loop;
    unsigned next = 0;
    struct turn_work works[3];
    assert_int_equal(hg_loop_init(&loop, "turns"), HG_OK);
    for (size_t i = 0; i < 3; i++) {
        works[i] = (struct turn_work){.mail.deliver = on_turn_mail, .loop = &loop, .next = &next};
        hg_loop_post(&loop, &works[i].mail);
    }
    while (next < 3)
        hg_loop_turn(&loop);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(works[i].number, i + 1);

    /* One that is hurried is done at once, and not again. */
    struct hg_loop *outer = hg_loop_enter(&loop);
    works[0].number = 0;
    hg_loop_at_turn_end(&loop, &works[0].item, on_turn_work);
    hg_turn_end_hurry(&works[0].item);
    assert_int_equal(works[0].number, 4);
    hg_turn_end_hurry(&works[0].item);
    hg_loop_enter(outer);
    hg_loop_turn(&loop);
    assert_int_equal(next, 4);
    assert_int_equal(hg_loop_finish(&loop), 0);
}

static void test_lists_are_handed_over_whole(void **state)
{
    (void)state;
    static struct item items[2][1000];
    pthread_t threads[2];
    assert_int_equal(hg_loop_init(&receiver, "receiver"), HG_OK);
    receiver.on_list = on_items;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_items, items[i]), 0);
    test_wait(&receiver, items_received == 2000);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(hg_loop_finish(&receiver), 0);
}

static unsigned reposts;

static void on_repost(struct hg_mail *mail)
{
    if (++reposts < 5)
        hg_loop_post(&receiver, mail);
}

static void test_finish_delivers_what_is_left(void **state)
{
    (void)state;
    struct hg_mail mail = {.deliver = on_repost};
    assert_int_equal(hg_loop_init(&receiver, "receiver"), HG_OK);
    hg_loop_post(&receiver, &mail);
    assert_int_equal(hg_loop_finish(&receiver), 0);
    assert_int_equal(reposts, 5);
}

static void on_never(uv_timer_t *timer)
{
    (void)timer;
}

static void test_finish_counts_handles_left_open(void **state)
{
    (void)state;
    static struct hg_loop loop; /* what is left open stays in it */
    static uv_timer_t closing, forgotten;
    assert_int_equal(hg_loop_init(&loop, "leaky"), HG_OK);
    uv_timer_init(&loop.uv, &closing);
    uv_timer_init(&loop.uv, &forgotten);
    uv_timer_start(&forgotten, on_never, 100000, 0);
    uv_close((uv_handle_t *)&closing, NULL);
    assert_int_equal(hg_loop_finish(&loop), 1);
    uv_close((uv_handle_t *)&forgotten, NULL);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&loop.uv), 0);
}

struct seen {
    struct hg_mail mail;
    char name[32];
    sigset_t mask;
    struct hg_loop *current;
    _Atomic bool is_done;
};
static struct seen seen;

static void begin(struct hg_loop *loop)
{
    seen.current = loop == hg_loop_current() ? loop : NULL;
    pthread_getname_np(pthread_self(), seen.name, sizeof(seen.name));
    pthread_sigmask(SIG_SETMASK, NULL, &seen.mask);
}

static void test_threads_are_named_and_take_no_signals(void **state)
{
    (void)state;
    assert_null(hg_loop_current());
    assert_int_equal(hg_loop_init(&receiver, "hg-worker-1"), HG_OK);
    assert_int_equal(hg_loop_start(&receiver, begin), HG_OK);
    hg_loop_stop(&receiver);
    hg_loop_join(&receiver);
    assert_int_equal(hg_loop_finish(&receiver), 0);
    assert_ptr_equal(seen.current, &receiver);
    assert_string_equal(seen.name, "hg-worker-1");
    assert_true(sigismember(&seen.mask, SIGTERM));
    assert_true(sigismember(&seen.mask, SIGPIPE));
    assert_false(sigismember(&seen.mask, SIGRTMIN + 1));
    assert_false(sigismember(&seen.mask, SIGPROF));
    assert_null(hg_loop_current());
}

static void test_heartbeat_stamps_an_idle_loop(void **state)
{
    (void)state;
    assert_int_equal(hg_loop_init(&receiver, "idle"), HG_OK);
    assert_int_equal(hg_loop_start(&receiver, NULL), HG_OK);
    uint64_t since = hg_clock_boot_ms() + 2;
    uint64_t until = since + TEST_PATIENCE_MS;
    while (atomic_load(&receiver.turned_ms) < since) {
        hg_loop_heartbeat(&receiver);
        test_doze();
        assert_true(hg_clock_boot_ms() < until);
    }
    hg_loop_stop(&receiver);
    hg_loop_join(&receiver);
    assert_int_equal(hg_loop_finish(&receiver), 0);
}

static void test_now_follows_the_boot_clock_and_date_the_wall(void **state)
{
    (void)state;
    assert_int_equal(hg_loop_init(&receiver, "clock"), HG_OK);
    uint64_t first = hg_loop_now(&receiver);
    uint64_t boot = hg_clock_boot_ms();
    assert_true(boot >= first && boot - first < 1000);
    test_wait(&receiver, hg_loop_now(&receiver) > first + 5);
    struct hg_bytes date = hg_loop_date(&receiver);
    assert_int_equal(date.len, 29);
    assert_memory_equal(date.data + 25, " GMT", 4);
    assert_int_equal(hg_loop_finish(&receiver), 0);
}

static void test_foreign_codes_have_a_name_of_ours(void **state)
{
    (void)state;
    assert_int_equal(hg_err_from_uv(0), HG_OK);
    assert_int_equal(hg_err_from_uv(UV_ENOMEM), HG_ENOMEM);
    assert_int_equal(hg_err_from_uv(UV_EOF), HG_ECLOSED);
    assert_int_equal(hg_err_from_uv(UV_EADDRINUSE), HG_EADDRINUSE);
    assert_int_equal(hg_err_from_errno(EMFILE), HG_ELIMIT);
    assert_int_equal(hg_err_from_errno(ECONNRESET), HG_EPEER);
    assert_int_equal(hg_err_from_errno(EXDEV), HG_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_mail_of_four_threads_arrives_in_order),
        cmocka_unit_test(test_held_mail_goes_to_each_loop_at_once),
        cmocka_unit_test(test_work_for_the_end_of_a_turn),
        cmocka_unit_test(test_lists_are_handed_over_whole),
        cmocka_unit_test(test_finish_delivers_what_is_left),
        cmocka_unit_test(test_finish_counts_handles_left_open),
        cmocka_unit_test(test_threads_are_named_and_take_no_signals),
        cmocka_unit_test(test_heartbeat_stamps_an_idle_loop),
        cmocka_unit_test(test_now_follows_the_boot_clock_and_date_the_wall),
        cmocka_unit_test(test_foreign_codes_have_a_name_of_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
