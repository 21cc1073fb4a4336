#include "group/group_impl.h"

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
