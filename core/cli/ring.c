#include "cli/ring.h"

#include <string.h>

#include "base/err.h"
#include "cli/duration.h"
#include "cli/show.h"
#include "cli/table.h"

static int add(struct hg_text_table *table, const char *cell)
{
    return hg_text_table_add(table, hg_bytes_str(cell));
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}

static double number_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static const char *seconds(const json_t *object, const char *name, char *out, size_t size)
{
    return hg_duration_show((long long)(number_of(object, name) * 1000), out, size);
}

const char *hg_ring_percent(double part, char *out, size_t size)
{
    snprintf(out, size, "%5.1f %%", part * 100);
    return out;
}

const char *hg_ring_bar(double part, double most, char *out, size_t size)
{
    size_t len = most > 0 && part > 0 ? (size_t)(part / most * HG_RING_BAR_MAX + 0.5) : 0;
    len = len < size ? len : size - 1;
    len = len < HG_RING_BAR_MAX ? len : HG_RING_BAR_MAX;
    memset(out, '#', len);
    out[len] = '\0';
    return out;
}

static int show_head(const json_t *page, FILE *out)
{
    struct hg_text_table table;
    char line[256], age[32];
    hg_text_table_init(&table, 2, false);
    snprintf(line, sizeof(line), "%s (%s, %.0f points each)", text_of(page, "ring"),
             text_of(page, "hash"), number_of(page, "points"));
    int rc = add(&table, "ring");
    if (rc == HG_OK)
        rc = add(&table, line);
    if (rc == HG_OK)
        rc = add(&table, "fingerprint");
    if (rc == HG_OK)
        rc = add(&table, text_of(page, "fingerprint"));
    if (rc == HG_OK)
        rc = add(&table, "members");
    snprintf(line, sizeof(line), "%zu, %s, the same for %s",
             json_array_size(json_object_get(page, "members")), text_of(page, "source"),
             seconds(page, "changed_seconds", age, sizeof(age)));
    if (json_is_number(json_object_get(page, "age_seconds"))) {
        size_t len = strlen(line);
        snprintf(line + len, sizeof(line) - len, ", confirmed %s ago",
                 seconds(page, "age_seconds", age, sizeof(age)));
    }
    if (json_is_false(json_object_get(page, "known")))
        snprintf(line, sizeof(line), "not known yet (%s)", text_of(page, "source"));
    if (rc == HG_OK)
        rc = add(&table, line);
    if (rc == HG_OK)
        hg_text_table_print(&table, false, out);
    hg_text_table_finish(&table);
    return rc;
}

static int add_member(struct hg_text_table *table, const json_t *member, double most)
{
    char text[64];
    double share = number_of(member, "share");
    bool is_self = json_is_true(json_object_get(member, "self"));
    int rc = add(table, text_of(member, "name"));
    if (rc == HG_OK)
        rc = add(table, is_self                                       ? "this node"
                        : json_is_true(json_object_get(member, "up")) ? "up"
                                                                      : "down");
    if (rc == HG_OK)
        rc = add(table, is_self ? "" : seconds(member, "heard_seconds", text, sizeof(text)));
    if (rc == HG_OK)
        rc = add(table, hg_ring_percent(share, text, sizeof(text)));
    return rc == HG_OK ? add(table, hg_ring_bar(share, most, text, sizeof(text))) : rc;
}

static int show_members(const json_t *members, bool colour, FILE *out)
{
    static const char *const headings[] = {"member", "state", "heard", "   keys", ""};
    struct hg_text_table table;
    double most = 0;
    int rc = HG_OK;
    hg_text_table_init(&table, HG_COUNT(headings), true);
    for (size_t i = 0; i < HG_COUNT(headings) && rc == HG_OK; i++)
        rc = add(&table, headings[i]);
    for (size_t i = 0; i < json_array_size(members); i++) {
        double share = number_of(json_array_get(members, i), "share");
        most = share > most ? share : most;
    }
    for (size_t i = 0; i < json_array_size(members) && rc == HG_OK; i++)
        rc = add_member(&table, json_array_get(members, i), most);
    if (rc == HG_OK) {
        fputc('\n', out);
        hg_text_table_print(&table, colour, out);
    }
    hg_text_table_finish(&table);
    return rc;
}

static int show_mismatches(const json_t *mismatches, bool colour, FILE *out)
{
    static const char *const headings[] = {"has another ring", "fingerprint", "requests", "last"};
    struct hg_text_table table;
    char text[32];
    int rc = HG_OK;
    if (json_array_size(mismatches) == 0)
        return HG_OK;
    hg_text_table_init(&table, HG_COUNT(headings), true);
    for (size_t i = 0; i < HG_COUNT(headings) && rc == HG_OK; i++)
        rc = add(&table, headings[i]);
    for (size_t i = 0; i < json_array_size(mismatches) && rc == HG_OK; i++) {
        const json_t *it = json_array_get(mismatches, i);
        rc = add(&table, text_of(it, "name"));
        if (rc == HG_OK)
            rc = add(&table, text_of(it, "fingerprint"));
        snprintf(text, sizeof(text), "%.0f", number_of(it, "count"));
        if (rc == HG_OK)
            rc = add(&table, text);
        if (rc == HG_OK)
            rc = add(&table, seconds(it, "age_seconds", text, sizeof(text)));
    }
    if (rc == HG_OK) {
        fputc('\n', out);
        hg_text_table_print(&table, colour, out);
    }
    hg_text_table_finish(&table);
    return rc;
}

int hg_ring_show(const json_t *page, bool colour, FILE *out)
{
    const json_t *members = json_object_get(page, "members");
    if (!json_is_array(members) || !json_is_string(json_object_get(page, "ring")))
        return hg_show(page, colour, out); /* a cluster of one has no ring */
    int rc = show_head(page, out);
    if (rc == HG_OK)
        rc = show_members(members, colour, out);
    return rc == HG_OK ? show_mismatches(json_object_get(page, "mismatches"), colour, out) : rc;
}
