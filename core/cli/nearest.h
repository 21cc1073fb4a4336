/*
 * nearest - the known word that a mistyped one was probably meant to be.
 */
#ifndef HG_CLI_NEAREST_H
#define HG_CLI_NEAREST_H

#include <stddef.h>

#define HG_NEAREST_MAX 32 /* longer words are not compared */

/* Edits from a to b: insert, delete, replace, swap two neighbours. Both at most HG_NEAREST_MAX
 * long. */
size_t hg_edit_distance(const char *a, const char *b);

/* At most a third of the letters wrong, at least one is forgiven, at most three; of equals the
 * first. NULL: none is near. */
const char *hg_nearest(const char *word, const char *const *known, size_t known_count);

#endif
