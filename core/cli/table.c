#include "cli/table.h"

#include "base/alloc.h"
#include "base/err.h"

void hg_text_table_init(struct hg_text_table *table, size_t column_count, bool has_heading)
{
    *table = (struct hg_text_table){.column_count = column_count, .has_heading = has_heading};
}

void hg_text_table_finish(struct hg_text_table *table)
{
    for (size_t i = 0; i < table->cell_count; i++)
        hg_free(table->cells[i]);
    hg_free(table->cells);
    *table = (struct hg_text_table){.column_count = table->column_count,
                                    .has_heading = table->has_heading};
}

/* NUL-terminated copy with control bytes as \xNN. */
static char *printable_copy(struct hg_bytes cell)
{
    static const char digits[] = "0123456789abcdef";
    size_t size;
    if (!hg_size_mul(cell.len, 4, &size) || !hg_size_add(size, 1, &size))
        return NULL;
    char *copy = hg_malloc(size);
    if (copy == NULL)
        return NULL;
    char *end = copy;
    for (size_t i = 0; i < cell.len; i++) {
        unsigned char byte = (unsigned char)cell.data[i];
        if (byte < 0x20 || byte == 0x7f) {
            *end++ = '\\';
            *end++ = 'x';
            *end++ = digits[byte >> 4];
            *end++ = digits[byte & 15];
        } else {
            *end++ = (char)byte;
        }
    }
    *end = '\0';
    return copy;
}

int hg_text_table_add(struct hg_text_table *table, struct hg_bytes cell)
{
    if (table->cell_count == table->capacity) {
        size_t capacity = table->capacity == 0 ? 64 : table->capacity * 2;
        char **cells = hg_realloc(table->cells, capacity * sizeof *cells);
        if (cells == NULL)
            return HG_ENOMEM;
        table->cells = cells;
        table->capacity = capacity;
    }
    char *copy = printable_copy(cell);
    if (copy == NULL)
        return HG_ENOMEM;
    table->cells[table->cell_count++] = copy;
    return HG_OK;
}

static size_t width_of(const char *cell)
{
    size_t width = 0;
    for (; *cell != '\0'; cell++)
        width += ((unsigned char)*cell & 0xc0) != 0x80;
    return width;
}

static bool is_number(const char *cell)
{
    size_t len = strlen(cell);
    return len > 0 && strspn(cell, "0123456789.-+e") == len;
}

static const char *cell_at(const struct hg_text_table *table, size_t row, size_t column)
{
    size_t index = row * table->column_count + column;
    return index < table->cell_count ? table->cells[index] : "";
}

static size_t row_count(const struct hg_text_table *table)
{
    return (table->cell_count + table->column_count - 1) / table->column_count;
}

static size_t column_width(const struct hg_text_table *table, size_t column)
{
    size_t widest = 0;
    for (size_t row = 0; row < row_count(table); row++) {
        size_t width = width_of(cell_at(table, row, column));
        widest = width > widest ? width : widest;
    }
    return widest;
}

static bool is_number_column(const struct hg_text_table *table, size_t column)
{
    bool has_number = false;
    for (size_t row = table->has_heading ? 1 : 0; row < row_count(table); row++) {
        const char *cell = cell_at(table, row, column);
        if (cell[0] != '\0' && !is_number(cell))
            return false;
        has_number = has_number || cell[0] != '\0';
    }
    return has_number;
}

void hg_text_table_print(const struct hg_text_table *table, bool colour, FILE *out)
{
    for (size_t row = 0; row < row_count(table); row++) {
        bool is_bold = colour && row == 0 && table->has_heading;
        size_t owed = 0; /* spaces, written only when something follows them */
        if (is_bold)
            fputs("\033[1m", out);
        for (size_t column = 0; column < table->column_count; column++) {
            const char *cell = cell_at(table, row, column);
            size_t width = column_width(table, column), len = width_of(cell);
            size_t padding = width - len;
            bool is_right = is_number_column(table, column);
            if (is_right)
                owed += padding;
            if (cell[0] != '\0') {
                fprintf(out, "%*s%s", (int)owed, "", cell);
                owed = 0;
            } else {
                owed += len;
            }
            owed += (is_right ? 0 : padding) + 2;
        }
        fputs(is_bold ? "\033[0m\n" : "\n", out);
    }
}
