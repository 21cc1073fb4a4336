/*
 * ring - the page /ring as text for people: the ring, one row with a bar for each member, and nodes whose ring is another.
 *
 * A page of another shape is shown as any other (cli/show.h).
 */
#ifndef HG_CLI_RING_H
#define HG_CLI_RING_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#define HG_RING_BAR_MAX 30 /* columns of the longest bar */

/* A part of 1 as " 33.4 %"; a bar that is HG_RING_BAR_MAX long where part is most. 64 bytes are enough. */
const char *hg_ring_percent(double part, char *out, size_t size);
const char *hg_ring_bar(double part, double most, char *out, size_t size);

/* HG_OK or HG_ENOMEM. */
int hg_ring_show(const json_t *page, bool colour, FILE *out);

#endif
