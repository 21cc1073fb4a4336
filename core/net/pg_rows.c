/*
 * Rows of an answer in one block: a cell is its length in 4 bytes and then its bytes, NULL the length that no cell has.
 */
#include "net/pg.h"

#include <string.h>
#include "base/alloc.h"
#include "base/err.h"
#include "net/pq_library.h"

#define NULL_LENGTH UINT32_MAX

void hg_pg_answer_clear(struct hg_pg_answer *answer)
{
    for (size_t i = 0; i < answer->column_count; i++)
        hg_free(answer->columns[i].name);
    hg_free(answer->columns);
    hg_buf_finish(&answer->cells);
    memset(answer, 0, sizeof(*answer));
}

static int add_columns(struct hg_pg_answer *answer, const PGresult *result)
{
    size_t count = (size_t)hg_pq->nfields(result);

    answer->columns = hg_calloc(count > 0 ? count : 1, sizeof(*answer->columns));
    if (answer->columns == NULL)
        return HG_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const char *name = hg_pq->fname(result, (int)i);
        answer->columns[i].type = hg_pq->ftype(result, (int)i);
        answer->columns[i].name = hg_strndup(name, strlen(name));
        answer->column_count = i + 1;
        if (answer->columns[i].name == NULL)
            return HG_ENOMEM;
    }
    return HG_OK;
}

static unsigned digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* bytea arrives as \x and two digits for each byte. */
static bool is_hex(const char *text, size_t len)
{
    return len >= 2 && text[0] == '\\' && text[1] == 'x';
}

static int add_cell(struct hg_buf *cells, const char *text, size_t len, bool is_packed)
{
    uint32_t length = (uint32_t)(is_packed ? (len - 2) / 2 : len);
    int err = hg_buf_reserve(cells, sizeof(length) + length);
    if (err < 0)
        return err;
    memcpy(cells->data + cells->len, &length, sizeof(length));
    char *out = cells->data + cells->len + sizeof(length);
    if (is_packed)
        for (size_t i = 0; i < length; i++)
            out[i] = (char)(digit(text[2 + 2 * i]) << 4 | digit(text[3 + 2 * i]));
    else if (length > 0)
        memcpy(out, text, length);
    cells->len += sizeof(length) + length;
    return HG_OK;
}

static int add_row(struct hg_pg_answer *answer, const PGresult *result, int row)
{
    static const uint32_t null_length = NULL_LENGTH;
    int err = HG_OK;

    for (size_t i = 0; i < answer->column_count && err == HG_OK; i++) {
        const char *text = hg_pq->getvalue(result, row, (int)i);
        size_t len = (size_t)hg_pq->getlength(result, row, (int)i);
        if (hg_pq->getisnull(result, row, (int)i))
            err = hg_buf_append(&answer->cells, &null_length, sizeof(null_length));
        else
            err = add_cell(&answer->cells, text, len,
                           answer->columns[i].type == HG_PG_BYTEA && is_hex(text, len));
    }
    if (answer->column_count == 0) /* it costs something too, and nobody reads it */
        err = hg_buf_append(&answer->cells, &null_length, sizeof(null_length));
    answer->row_count++;
    return err;
}

int hg_pg_answer_add(struct hg_pg_answer *answer, const struct pg_result *result, size_t max_bytes)
{
    int err = HG_OK;

    if (answer->columns == NULL) {
        hg_buf_init(&answer->cells, max_bytes);
        err = add_columns(answer, result);
    }
    int count = hg_pq->ntuples(result);
    for (int row = 0; row < count && err == HG_OK; row++)
        err = add_row(answer, result, row);
    return err;
}

bool hg_pg_next_cell(struct hg_bytes *rest, struct hg_bytes *out_cell)
{
    uint32_t length;

    if (rest->len < sizeof(length))
        return false;
    memcpy(&length, rest->data, sizeof(length));
    *rest = hg_bytes(rest->data + sizeof(length), rest->len - sizeof(length));
    if (length == NULL_LENGTH) {
        *out_cell = HG_BYTES_NONE;
        return true;
    }
    *out_cell = hg_bytes(rest->data, length);
    *rest = hg_bytes(rest->data + length, rest->len - length);
    return true;
}
