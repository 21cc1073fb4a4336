/*
 * retired - groups, guards and configurations of groups that a reload dropped or replaced, until nobody can be using them.
 *
 * Who finds one of them uses it until the end of its callback without holding it, or comes to hold it. So it is freed once it is
 * idle and HG_RETIRED_TICKS of the control loop have passed since. Ticks and not time: they stand still when the process does.
 *
 * Ownership  what is added is the list's, and freed by it. Memory for the list is taken beforehand, so that adding cannot fail.
 * Threads    the control loop's own.
 */
#ifndef HG_NODE_RETIRED_H
#define HG_NODE_RETIRED_H

#include <stdbool.h>
#include <stddef.h>
#include "base/list.h"

#define HG_RETIRED_TICKS 100 /* of housekeeping: 10 s */

struct hg_guard;
struct hg_group;

struct hg_retired {
    struct hg_list rows;
};

struct hg_retired_row;
struct hg_retired_row *hg_retired_row_create(void); /* NULL: out of memory */
void hg_retired_row_destroy(struct hg_retired_row *row); /* one that was not used; NULL is fine */

void hg_retired_init(struct hg_retired *retired);
/* Everything goes now: no other thread is left. Zeroed memory is fine. */
void hg_retired_finish(struct hg_retired *retired);
void hg_retired_add_group(struct hg_retired *retired, struct hg_retired_row *row, struct hg_group *group);
void hg_retired_add_guard(struct hg_retired *retired, struct hg_retired_row *row, struct hg_guard *guard);
void hg_retired_add_memory(struct hg_retired *retired, struct hg_retired_row *row, void *memory);
/* It is wanted again. True: it was there. */
bool hg_retired_take_group(struct hg_retired *retired, const struct hg_group *group);
/* may_free_groups: nobody is making groups now. */
void hg_retired_tick(struct hg_retired *retired, bool may_free_groups);
size_t hg_retired_count(const struct hg_retired *retired);

#endif
