/*
 * explain - the page /explain as text for people: the owner, one row for each node, and what happened to the key.
 *
 * A page of another shape, of an older node, is shown as any other (cli/show.h).
 */
#ifndef HG_CLI_EXPLAIN_H
#define HG_CLI_EXPLAIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* HG_OK or HG_ENOMEM. */
int hg_explain_show(const json_t *page, bool colour, FILE *out);

#endif
