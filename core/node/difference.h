/*
 * difference - what a reload would change, as lua/hgcache/reload.lua finds out.
 *
 * Threads    that which loads the configuration in vm.
 */
#ifndef HG_NODE_DIFFERENCE_H
#define HG_NODE_DIFFERENCE_H

#include "base/bytes.h"
#include "script/vm.h"

/* The settings of the configuration in vm, for hg_difference in another one (hg_free it). NULL: out of memory. */
char *hg_difference_settings(struct hg_vm *vm, size_t *out_len);
/*
 * HG_OK: *out_changes is what changes against `before`, a line each, or "". HG_EINVAL: *out_refused says in one line what cannot change.
 * HG_ENOMEM. (hg_free both.)
 */
int hg_difference(struct hg_vm *vm, struct hg_bytes before, char **out_refused, char **out_changes);

#endif
