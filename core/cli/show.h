/*
 * show - a node's JSON pages (/stats, /ring, /hot) as text for people.
 *
 * It knows no page by heart: simple members become lines, an object of objects a table with one
 * column each, a list of objects a table with one row each, anything deeper a section of its own.
 * New members show up by themselves.
 */
#ifndef HG_CLI_SHOW_H
#define HG_CLI_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* HG_OK or HG_ENOMEM. */
int hg_show(const json_t *page, bool colour, FILE *out);

#endif
