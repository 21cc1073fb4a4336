/*
 * cgroup - the memory this process may use, where the kernel has been told a limit (FAULTS D5).
 */
#ifndef HG_NODE_CGROUP_H
#define HG_NODE_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The least memory.max (version 2) or memory.limit_in_bytes (version 1) on the way from this process's group to the
 * root; UINT64_MAX when there is none. `membership` is /proc/self/cgroup, `root` /sys/fs/cgroup; tests hand in their own.
 */
uint64_t hg_cgroup_memory_limit(const char *membership, const char *root);

#endif
