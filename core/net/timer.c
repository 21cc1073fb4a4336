#include "net/timer.h"

#include "base/units.h"
#include "net/clock.h"

void hg_timer_init(struct hg_timer *timer, struct hg_loop *loop)
{
    uv_timer_init(&loop->uv, &timer->uv); /* cannot fail */
    timer->loop = loop;
    hg_list_init(&timer->link);
}

static void on_uv(uv_timer_t *uv)
{
    struct hg_timer *timer = hg_container_of(uv, struct hg_timer, uv);
    timer->ring(timer);
}

/* Behind those that are due at the same moment. */
static void hold(struct hg_timer *timer, uint64_t after_ms)
{
    struct hg_list *at = timer->loop->held_timers.prev;

    timer->due_ms = hg_time_add(hg_clock_boot_ms(), after_ms);
    hg_list_remove(&timer->link);
    while (at != &timer->loop->held_timers &&
           hg_container_of(at, struct hg_timer, link)->due_ms > timer->due_ms)
        at = at->prev;
    hg_list_push_front(at, &timer->link);
}

void hg_timer_start(struct hg_timer *timer, hg_timer_fn ring, uint64_t after_ms)
{
    timer->ring = ring;
    if (hg_clock_is_held())
        hold(timer, after_ms);
    else
        uv_timer_start(&timer->uv, on_uv, after_ms, 0);
}

void hg_timer_stop(struct hg_timer *timer)
{
    hg_list_remove(&timer->link);
    uv_timer_stop(&timer->uv);
}

static void on_closed(uv_handle_t *uv)
{
    struct hg_timer *timer = hg_container_of(uv, struct hg_timer, uv);
    timer->closed(timer);
}

void hg_timer_close(struct hg_timer *timer, hg_timer_fn closed)
{
    hg_list_remove(&timer->link);
    timer->closed = closed;
    uv_close((uv_handle_t *)&timer->uv, on_closed);
}

uint64_t hg_loop_due(const struct hg_loop *loop)
{
    if (hg_list_is_empty(&loop->held_timers))
        return HG_FOREVER;
    return hg_container_of(loop->held_timers.next, struct hg_timer, link)->due_ms;
}

size_t hg_loop_due_count(const struct hg_loop *loop)
{
    uint64_t now_ms = hg_clock_boot_ms();
    size_t count = 0;
    hg_list_for_each(it, &loop->held_timers)
    {
        if (hg_container_of(it, struct hg_timer, link)->due_ms > now_ms)
            break;
        count++;
    }
    return count;
}

bool hg_loop_ring(struct hg_loop *loop)
{
    if (hg_loop_due(loop) > hg_clock_boot_ms())
        return false;
    struct hg_timer *timer = hg_container_of(loop->held_timers.next, struct hg_timer, link);
    hg_list_remove(&timer->link);
    struct hg_loop *outer = hg_loop_enter(loop);
    timer->ring(timer);
    hg_loop_enter(outer);
    return true;
}
