#include "cli/explain.h"

#include "base/err.h"
#include "cli/duration.h"
#include "cli/show.h"
#include "cli/table.h"

#define LINE_MAX_BYTES 512

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}

static long long number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static int add(struct hg_text_table *table, const char *cell)
{
    return hg_text_table_add(table, hg_bytes_str(cell));
}

static const char *holding(const json_t *node)
{
    const char *status = text_of(node, "status"), *tier = text_of(node, "tier");
    if (!json_is_true(json_object_get(node, "stored")))
        return "nothing";
    if (json_is_false(json_object_get(node, "trusted")))
        return "not trusted"; /* it stood still, and has not caught up */
    if (strcmp(status, "value") != 0)
        return strcmp(status, "not_found") == 0 ? "not found" : "an error";
    return strcmp(tier, "hot") == 0 ? "a copy" : "the value";
}

static int add_left(struct hg_text_table *table, const json_t *node)
{
    char text[32], line[64];
    const json_t *ttl = json_object_get(node, "ttl_ms");
    long long ms = json_integer_value(ttl);
    if (!json_is_integer(ttl))
        return add(table, "for ever");
    if (ms < 0 && ms > -INT64_MAX)
        snprintf(line, sizeof line, "stale %s", hg_duration_show(-ms, text, sizeof text));
    else
        snprintf(line, sizeof line, "%s", hg_duration_show(ms, text, sizeof text));
    return add(table, line);
}

static int add_windows(struct hg_text_table *table, const json_t *node)
{
    char swr[32], sie[32], line[80] = "none";
    long long swr_ms = number_of(node, "stale_while_revalidate_ms"),
              sie_ms = number_of(node, "stale_if_error_ms");
    if (swr_ms > 0 || sie_ms > 0)
        snprintf(line, sizeof line, "%s / %s", hg_duration_show(swr_ms, swr, sizeof swr),
                 hg_duration_show(sie_ms, sie, sizeof sie));
    return add(table, line);
}

static int add_tags(struct hg_text_table *table, const json_t *node)
{
    struct hg_buf buf;
    const json_t *tags = json_object_get(node, "tags");
    hg_buf_init(&buf, 1 << 20);
    int rc = HG_OK;
    for (size_t i = 0; i < json_array_size(tags) && rc == HG_OK; i++) {
        const json_t *tag = json_array_get(tags, i);
        rc = i > 0 ? hg_buf_append_str(&buf, ", ") : HG_OK;
        if (rc == HG_OK && json_is_string(tag))
            rc = hg_buf_append(&buf, json_string_value(tag), json_string_length(tag));
    }
    if (rc == HG_OK)
        rc = hg_text_table_add(table, hg_buf_bytes(&buf));
    hg_buf_finish(&buf);
    return rc;
}

static int add_node(struct hg_text_table *table, const json_t *node)
{
    char text[64];
    const json_t *why = json_object_get(node, "unreachable");
    int rc = add(table, text_of(node, "member"));
    if (rc == HG_OK && why != NULL)
        rc = add(table, "unreachable");
    else if (rc == HG_OK)
        rc = add(table, holding(node));
    bool is_stored = json_is_true(json_object_get(node, "stored"));
    for (size_t column = 2; column < 7 && rc == HG_OK && !is_stored; column++)
        rc = add(table, column == 2 && why != NULL ? text_of(node, "unreachable") : "");
    if (!is_stored || rc < 0)
        return rc;
    rc = add(table, hg_duration_show(number_of(node, "age_ms"), text, sizeof text));
    if (rc == HG_OK)
        rc = add_left(table, node);
    if (rc == HG_OK)
        rc = add_windows(table, node);
    snprintf(text, sizeof text, "%lld", number_of(node, "size_bytes"));
    if (rc == HG_OK)
        rc = add(table, text);
    return rc == HG_OK ? add_tags(table, node) : rc;
}

static int add_event(struct hg_text_table *table, const json_t *node, const char *what,
                     const char *line)
{
    int rc = add(table, text_of(node, "member"));
    if (rc == HG_OK)
        rc = add(table, what);
    return rc == HG_OK ? add(table, line) : rc;
}

static const char *kind_of(const json_t *flight)
{
    return strcmp(text_of(flight, "kind"), "remote") == 0 ? "asks the owner" : "the getter";
}

static int add_events(struct hg_text_table *table, const json_t *node)
{
    char line[LINE_MAX_BYTES], a[32], b[32];
    const json_t *flight = json_object_get(node, "flight"), *load = json_object_get(node, "load"),
                 *error = json_object_get(node, "error"),
                 *eviction = json_object_get(node, "eviction");
    int rc = HG_OK;
    if (flight != NULL) {
        snprintf(line, sizeof line, "%s (%s) for %s, %lld wait", kind_of(flight),
                 text_of(flight, "reason"),
                 hg_duration_show(number_of(flight, "age_ms"), a, sizeof a),
                 number_of(flight, "waiters"));
        rc = add_event(table, node, "loading", line);
    }
    if (load != NULL && rc == HG_OK) {
        snprintf(line, sizeof line, "%s ago, took %s: %s, %s",
                 hg_duration_show(number_of(load, "age_ms"), a, sizeof a),
                 hg_duration_show(number_of(load, "took_ms"), b, sizeof b), kind_of(load),
                 text_of(load, "status"));
        rc = add_event(table, node, "loaded", line);
    }
    if (error != NULL && rc == HG_OK) {
        snprintf(line, sizeof line, "%s ago: %s: %s",
                 hg_duration_show(number_of(error, "age_ms"), a, sizeof a), text_of(error, "class"),
                 text_of(error, "message"));
        rc = add_event(table, node, "failed", line);
    }
    if (eviction != NULL && rc == HG_OK) {
        snprintf(line, sizeof line, "%s ago: %s",
                 hg_duration_show(number_of(eviction, "age_ms"), a, sizeof a),
                 text_of(eviction, "reason"));
        rc = add_event(table, node, "left", line);
    }
    if (number_of(node, "rate") > 0 && rc == HG_OK) {
        snprintf(line, sizeof line, "about %lld times a minute", number_of(node, "rate"));
        rc = add_event(table, node, "asked for", line);
    }
    return rc;
}

static int show_nodes(const json_t *nodes, bool colour, FILE *out)
{
    static const char *const headings[] = {"node",  "has", "age", "left", "stale (swr / sie)",
                                           "bytes", "tags"};
    struct hg_text_table table;
    hg_text_table_init(&table, HG_COUNT(headings), true);
    int rc = HG_OK;
    for (size_t i = 0; i < HG_COUNT(headings) && rc == HG_OK; i++)
        rc = add(&table, headings[i]);
    for (size_t i = 0; i < json_array_size(nodes) && rc == HG_OK; i++)
        rc = add_node(&table, json_array_get(nodes, i));
    if (rc == HG_OK)
        hg_text_table_print(&table, colour, out);
    hg_text_table_finish(&table);
    return rc;
}

static int show_events(const json_t *nodes, FILE *out)
{
    struct hg_text_table table;
    hg_text_table_init(&table, 3, false);
    int rc = HG_OK;
    for (size_t i = 0; i < json_array_size(nodes) && rc == HG_OK; i++)
        rc = add_events(&table, json_array_get(nodes, i));
    if (rc == HG_OK && table.cell_count > 0) {
        fputc('\n', out);
        hg_text_table_print(&table, false, out);
    }
    hg_text_table_finish(&table);
    return rc;
}

int hg_explain_show(const json_t *page, bool colour, FILE *out)
{
    const json_t *nodes = json_object_get(page, "nodes"), *key = json_object_get(page, "key");
    struct hg_text_table head;
    if (!json_is_array(nodes))
        return hg_show(page, colour, out);
    hg_text_table_init(&head, 2, false);
    int rc = add(&head, "group");
    if (rc == HG_OK)
        rc = add(&head, text_of(page, "group"));
    if (rc == HG_OK)
        rc = add(&head, key == NULL ? "key64" : "key");
    if (rc == HG_OK && key != NULL)
        rc = hg_text_table_add(&head, hg_bytes(json_string_value(key), json_string_length(key)));
    else if (rc == HG_OK)
        rc = add(&head, text_of(page, "key64"));
    if (rc == HG_OK)
        rc = add(&head, "owner");
    if (rc == HG_OK)
        rc = add(&head, text_of(page, "owner"));
    if (rc == HG_OK) {
        hg_text_table_print(&head, colour, out);
        fputc('\n', out);
    }
    hg_text_table_finish(&head);
    if (rc == HG_OK)
        rc = show_nodes(nodes, colour, out);
    return rc == HG_OK ? show_events(nodes, out) : rc;
}
