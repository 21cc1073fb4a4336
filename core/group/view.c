#include "group/group_impl.h"

void hg_view_hold(const struct hg_view *view)
{
    if (view != NULL && view->holders != NULL)
        atomic_fetch_add_explicit(view->holders, 1, memory_order_relaxed);
}

void hg_view_release(const struct hg_view *view)
{
    if (view != NULL && view->holders != NULL)
        atomic_fetch_sub_explicit(view->holders, 1, memory_order_release);
}

bool hg_view_is_held(const struct hg_view *view)
{
    return view->holders != NULL && atomic_load_explicit(view->holders, memory_order_acquire) > 0;
}

void hg_load_set_view(struct hg_load *load, const struct hg_view *view)
{
    hg_view_hold(view);
    hg_view_release(load->view);
    load->view = view;
}

bool hg_view_is_mine(const struct hg_view *view, struct hg_bytes key)
{
    if (view == NULL)
        return true;
    return view->self >= 0 && hg_ring_owner(view->ring, key) == (size_t)view->self;
}

bool hg_view_second(const struct hg_view *view, struct hg_bytes key, size_t failed,
                    size_t *out_member)
{
    size_t second = hg_ring_second(view->ring, key);

    if (second == failed || (view->self >= 0 && second == (size_t)view->self))
        return false;
    *out_member = second;
    return true;
}
