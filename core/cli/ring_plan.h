/*
 * ring_plan - what a join or a leave would move, from a node's page /ring: both rings are built as nodes build them
 * (cache/ring.h), and that the first is the node's own is seen by its fingerprint. No node is asked to build one.
 */
#ifndef HG_CLI_RING_PLAN_H
#define HG_CLI_RING_PLAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/*
 * {"change":"join"|"leave","member":..,"moved":part of the keys,"fingerprint":the new ring's,
 *  "moves":[{"from":..,"to":..,"share":..}],"members":[{"name":..,"before":..,"after":..}]}
 * HG_EINVAL: that member cannot join or leave; HG_EPROTO: the page is no ring of ours; error says why. HG_ENOMEM.
 */
int hg_ring_plan_create(const json_t *page, bool is_join, const char *name, json_t **out_plan, char *error,
                        size_t error_size);
/* HG_OK or HG_ENOMEM. */
int hg_ring_plan_show(const json_t *plan, bool colour, FILE *out);

#endif
