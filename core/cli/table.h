/*
 * table - rows of cells, printed in aligned columns for people. Columns of numbers are aligned to
 * the right.
 *
 * Ownership  cells are copied. Control bytes are shown as \xNN; widths count UTF-8 characters.
 * Errors     HG_ENOMEM; the table stays as it was.
 */
#ifndef HG_CLI_TABLE_H
#define HG_CLI_TABLE_H

#include <stdio.h>

#include "base/buf.h"

struct hg_text_table {
    size_t column_count;
    bool has_heading; /* the first row is one: bold where there is colour, and no number */
    char **cells;     /* row by row */
    size_t cell_count, capacity;
};

void hg_text_table_init(struct hg_text_table *table, size_t column_count, bool has_heading);
void hg_text_table_finish(struct hg_text_table *table);                   /* zeroed memory is fine */
int hg_text_table_add(struct hg_text_table *table, struct hg_bytes cell); /* the next cell */
/* An unfinished last row is filled with empty cells. */
void hg_text_table_print(const struct hg_text_table *table, bool colour, FILE *out);

#endif
