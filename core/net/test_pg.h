/*
 * test_pg - for tests: what a PostgreSQL server says, as bytes.
 */
#ifndef HG_NET_TEST_PG_H
#define HG_NET_TEST_PG_H

#include <arpa/inet.h>
#include "base/buf.h"

static inline void pg_message(struct hg_buf *out, char type, const void *body, size_t len)
{
    uint32_t length = htonl((uint32_t)len + 4);
    hg_buf_append_char(out, type);
    hg_buf_append(out, &length, sizeof(length));
    hg_buf_append(out, body, len);
}

static inline void pg_ready(struct hg_buf *out)
{
    pg_message(out, 'Z', "I", 1);
}

/* Logged in, and who it is. */
static inline void pg_welcome(struct hg_buf *out)
{
    pg_message(out, 'R', "\0\0\0\0", 4);
    pg_message(out, 'S',
               "server_version\0"
               "15.0\0",
               20);
    pg_message(out, 'K', "\0\0\0\1\0\0\0\2", 8);
    pg_ready(out);
}

static inline void pg_begin_rows(struct hg_buf *out)
{
    pg_message(out, '1', NULL, 0);
    pg_message(out, '2', NULL, 0);
}

/* Two columns: k text, v bytea. */
static inline void pg_columns(struct hg_buf *out)
{
    static const char body[] = "\0\2"
                               "k\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"
                               "v\0\0\0\0\0\0\0\0\0\0\x11\xff\xff\xff\xff\xff\xff\0\0";
    pg_message(out, 'T', body, sizeof(body) - 1);
}

static inline void pg_cell(struct hg_buf *row, const char *text)
{
    uint32_t length = text == NULL ? UINT32_MAX : htonl((uint32_t)strlen(text));
    hg_buf_append(row, &length, sizeof(length));
    if (text != NULL)
        hg_buf_append_str(row, text);
}

/* NULL is NULL. */
static inline void pg_row(struct hg_buf *out, const char *first, const char *second)
{
    struct hg_buf row;
    hg_buf_init(&row, SIZE_MAX);
    hg_buf_append(&row, "\0\2", 2);
    pg_cell(&row, first);
    pg_cell(&row, second);
    pg_message(out, 'D', row.data, row.len);
    hg_buf_finish(&row);
}

static inline void pg_end_rows(struct hg_buf *out)
{
    pg_message(out, 'C', "SELECT 1", 9);
    pg_ready(out);
}

static inline void pg_error(struct hg_buf *out, const char *severity, const char *sqlstate,
                            const char *text)
{
    struct hg_buf body;
    hg_buf_init(&body, SIZE_MAX);
    hg_buf_printf(&body, "S%s%cV%s%cC%s%cM%s%c%c", severity, 0, severity, 0, sqlstate, 0, text, 0,
                  0);
    pg_message(out, 'E', body.data, body.len);
    hg_buf_finish(&body);
}

#endif
