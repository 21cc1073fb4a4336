#include "cli/show.h"

#include "base/alloc.h"
#include "base/err.h"
#include "cli/table.h"

#define COLUMNS_MAX 6 /* of one table of objects; more go below */
#define DEPTH_MAX   8

struct show {
    bool colour, has_printed;
    FILE *out;
};

static bool is_scalar(const json_t *json)
{
    return !json_is_object(json) && !json_is_array(json);
}

static bool is_list_of_scalars(const json_t *json)
{
    if (!json_is_array(json))
        return false;
    for (size_t i = 0; i < json_array_size(json); i++)
        if (!is_scalar(json_array_get(json, i)))
            return false;
    return true;
}

static bool is_simple(const json_t *json)
{
    return is_scalar(json) || is_list_of_scalars(json);
}

/* A cell: strings bare, the rest as JSON; lists with commas between. */
static int add_text(struct hg_buf *buf, const json_t *json)
{
    if (json == NULL)
        return HG_OK;
    if (json_is_string(json))
        return hg_buf_append(buf, json_string_value(json), json_string_length(json));
    if (is_list_of_scalars(json)) {
        int rc = json_array_size(json) == 0 ? hg_buf_append_str(buf, "-") : HG_OK;
        for (size_t i = 0; i < json_array_size(json) && rc == HG_OK; i++) {
            rc = i > 0 ? hg_buf_append_str(buf, ", ") : HG_OK;
            if (rc == HG_OK)
                rc = add_text(buf, json_array_get(json, i));
        }
        return rc;
    }
    char *text = json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    if (text == NULL)
        return HG_ENOMEM;
    int rc = hg_buf_append_str(buf, text);
    free(text);
    return rc;
}

static int add_cell(struct hg_text_table *table, const json_t *json)
{
    struct hg_buf buf;
    hg_buf_init(&buf, 64 * 1024 * 1024);
    int rc = add_text(&buf, json);
    if (rc == HG_OK)
        rc = hg_text_table_add(table, hg_buf_bytes(&buf));
    hg_buf_finish(&buf);
    return rc;
}

static void heading(struct show *show, const char *title)
{
    if (show->has_printed)
        fputc('\n', show->out);
    show->has_printed = true;
    if (title[0] != '\0')
        fprintf(show->out, show->colour ? "\033[1m%s\033[0m\n" : "%s\n", title);
}

/* All keys of the members of an object or a list of objects, in the order met; values are unused.
 * NULL: no memory. */
static json_t *keys_of(json_t *members)
{
    json_t *keys = json_object();
    size_t count = json_is_array(members) ? json_array_size(members) : 0;
    const char *name, *key;
    json_t *member, *value;
    for (size_t i = 0; i < count && keys != NULL; i++)
        json_object_foreach(json_array_get(members, i), key, value)
            json_object_set_new(keys, key, json_null());
    if (json_is_object(members) && keys != NULL)
        json_object_foreach(members, name, member) json_object_foreach(member, key, value)
            json_object_set_new(keys, key, json_null());
    return keys;
}

/* One row an element. */
static int show_list(struct show *show, const char *title, json_t *list)
{
    json_t *keys = keys_of(list);
    if (keys == NULL)
        return HG_ENOMEM;
    struct hg_text_table table;
    hg_text_table_init(&table, json_object_size(keys) > 0 ? json_object_size(keys) : 1, true);
    const char *key;
    json_t *value;
    int rc = HG_OK;
    json_object_foreach(keys, key, value) rc =
        rc == HG_OK ? hg_text_table_add(&table, hg_bytes_str(key)) : rc;
    for (size_t i = 0; i < json_array_size(list); i++)
        json_object_foreach(keys, key, value) rc =
            rc == HG_OK ? add_cell(&table, json_object_get(json_array_get(list, i), key)) : rc;
    if (rc == HG_OK) {
        heading(show, title);
        hg_text_table_print(&table, show->colour, show->out);
    }
    hg_text_table_finish(&table);
    json_decref(keys);
    return rc;
}

/* One column a member, at most COLUMNS_MAX side by side. */
static int show_members(struct show *show, const char *title, json_t *members)
{
    json_t *keys = keys_of(members);
    if (keys == NULL)
        return HG_ENOMEM;
    int rc = HG_OK;
    size_t count = json_object_size(members);
    for (size_t first = 0; first < count && rc == HG_OK; first += COLUMNS_MAX) {
        size_t columns = count - first < COLUMNS_MAX ? count - first : COLUMNS_MAX;
        struct hg_text_table table;
        hg_text_table_init(&table, columns + 1, true);
        rc = hg_text_table_add(&table, hg_bytes_str(first == 0 ? title : ""));
        const char *key, *name;
        json_t *value, *member;
        size_t index = 0;
        json_object_foreach(members, name, member)
        {
            if (index >= first && index < first + columns && rc == HG_OK)
                rc = hg_text_table_add(&table, hg_bytes_str(name));
            index++;
        }
        json_object_foreach(keys, key, value)
        {
            rc = rc == HG_OK ? hg_text_table_add(&table, hg_bytes_str(key)) : rc;
            index = 0;
            json_object_foreach(members, name, member)
            {
                if (index >= first && index < first + columns && rc == HG_OK)
                    rc = add_cell(&table, json_object_get(member, key));
                index++;
            }
        }
        if (rc == HG_OK) {
            heading(show, "");
            hg_text_table_print(&table, show->colour, show->out);
        }
        hg_text_table_finish(&table);
    }
    json_decref(keys);
    return rc;
}

static bool are_members(json_t *json, bool want_simple)
{
    const char *key;
    json_t *value;
    if (!json_is_object(json) || json_object_size(json) == 0)
        return false;
    json_object_foreach(json, key, value)
    {
        if (want_simple ? !is_simple(value) : !are_members(value, true))
            return false;
    }
    return true;
}

static bool is_list_of_objects(json_t *json)
{
    if (!json_is_array(json) || json_array_size(json) == 0)
        return false;
    for (size_t i = 0; i < json_array_size(json); i++)
        if (!json_is_object(json_array_get(json, i)))
            return false;
    return true;
}

static int show_any(struct show *show, const char *title, json_t *json, unsigned depth);

/* The simple members as lines, then each other one. */
static int show_object(struct show *show, const char *title, json_t *object, unsigned depth)
{
    struct hg_text_table lines;
    hg_text_table_init(&lines, 2, false);
    const char *key;
    json_t *value;
    int rc = HG_OK;
    json_object_foreach(object, key, value)
    {
        if (!is_simple(value) || rc < 0)
            continue;
        rc = hg_text_table_add(&lines, hg_bytes_str(key));
        if (rc == HG_OK)
            rc = add_cell(&lines, value);
    }
    if (rc == HG_OK && lines.cell_count > 0) {
        heading(show, title);
        hg_text_table_print(&lines, show->colour, show->out);
    }
    hg_text_table_finish(&lines);
    json_object_foreach(object, key, value) if (!is_simple(value) && rc == HG_OK) rc =
        show_any(show, key, value, depth + 1);
    return rc;
}

static int show_any(struct show *show, const char *title, json_t *json, unsigned depth)
{
    if (is_list_of_objects(json))
        return show_list(show, title, json);
    if (are_members(json, false))
        return show_members(show, title, json);
    if (json_is_object(json) && depth < DEPTH_MAX)
        return show_object(show, title, json, depth);
    struct hg_buf buf;
    hg_buf_init(&buf, 64 * 1024 * 1024);
    int rc = is_simple(json) ? add_text(&buf, json) : hg_buf_append_str(&buf, "...");
    if (rc == HG_OK) {
        heading(show, title);
        fprintf(show->out, "%.*s\n", (int)buf.len, buf.data == NULL ? "" : buf.data);
    }
    hg_buf_finish(&buf);
    return rc;
}

int hg_show(const json_t *page, bool colour, FILE *out)
{
    struct show show = {.colour = colour, .out = out};
    /* jansson's iteration wants it writable; nothing is changed. */
    json_t *json = json_deep_copy(page);
    if (json == NULL)
        return HG_ENOMEM;
    int rc = show_any(&show, "", json, 0);
    json_decref(json);
    return rc;
}
