#include "node/retired.h"

#include "base/alloc.h"
#include "group/group.h"

struct hg_retired_row {
    struct hg_list link;
    struct hg_group *group; /* one of these three */
    struct hg_guard *guard;
    void *memory;
    unsigned ticks;
};

struct hg_retired_row *hg_retired_row_create(void)
{
    return hg_calloc(1, sizeof(struct hg_retired_row));
}

void hg_retired_row_destroy(struct hg_retired_row *row)
{
    hg_free(row);
}

void hg_retired_init(struct hg_retired *retired)
{
    hg_list_init(&retired->rows);
}

static void row_free(struct hg_retired_row *row)
{
    hg_list_remove(&row->link);
    hg_group_destroy(row->group);
    if (row->guard != NULL)
        hg_guard_finish(row->guard);
    hg_free(row->guard);
    hg_free(row->memory);
    hg_free(row);
}

void hg_retired_finish(struct hg_retired *retired)
{
    if (retired->rows.next == NULL) /* it was never used */
        return;
    /* Groups first: they hold guards. */
    hg_list_for_each_safe(it, &retired->rows)
    {
        struct hg_retired_row *row = hg_container_of(it, struct hg_retired_row, link);
        if (row->guard == NULL)
            row_free(row);
    }
    hg_list_for_each_safe(it, &retired->rows)
        row_free(hg_container_of(it, struct hg_retired_row, link));
}

void hg_retired_add_group(struct hg_retired *retired, struct hg_retired_row *row,
                          struct hg_group *group)
{
    row->group = group;
    hg_list_push_back(&retired->rows, &row->link);
}

void hg_retired_add_guard(struct hg_retired *retired, struct hg_retired_row *row,
                          struct hg_guard *guard)
{
    row->guard = guard;
    hg_list_push_back(&retired->rows, &row->link);
}

void hg_retired_add_memory(struct hg_retired *retired, struct hg_retired_row *row, void *memory)
{
    row->memory = memory;
    hg_list_push_back(&retired->rows, &row->link);
}

bool hg_retired_take_group(struct hg_retired *retired, const struct hg_group *group)
{
    hg_list_for_each_safe(it, &retired->rows)
    {
        struct hg_retired_row *row = hg_container_of(it, struct hg_retired_row, link);
        if (row->group != group)
            continue;
        row->group = NULL;
        row_free(row);
        return true;
    }
    return false;
}

static bool is_idle(const struct hg_retired_row *row)
{
    return (row->group == NULL || hg_group_is_idle(row->group)) &&
           (row->guard == NULL || hg_guard_is_idle(row->guard));
}

void hg_retired_tick(struct hg_retired *retired, bool may_free_groups)
{
    hg_list_for_each_safe(it, &retired->rows)
    {
        struct hg_retired_row *row = hg_container_of(it, struct hg_retired_row, link);
        if (!is_idle(row))
            row->ticks = 0;
        else if (row->ticks < HG_RETIRED_TICKS)
            row->ticks++;
        else if (row->group == NULL || may_free_groups)
            row_free(row);
    }
}

size_t hg_retired_count(const struct hg_retired *retired)
{
    size_t count = 0;
    hg_list_for_each(it, &retired->rows) count++;
    return count;
}
