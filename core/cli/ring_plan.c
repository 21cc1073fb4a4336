#include "cli/ring_plan.h"

#include "base/alloc.h"
#include "base/err.h"
#include "cache/ring.h"
#include "cli/ring.h"
#include "cli/table.h"

struct plan {
    bool is_join;
    const char *name;
    size_t count; /* of `names`: the members now; the one that joins stands behind them */
    struct hg_bytes *names;
    struct hg_ring *before, *after;
    double *lost, *gained;
};

static int say(char *error, size_t size, int err, const char *what)
{
    snprintf(error, size, "%s", what);
    return err;
}

static int read_members(struct plan *plan, const json_t *members, char *error, size_t size)
{
    plan->count = json_array_size(members);
    if (plan->count == 0 || plan->count > HG_RING_MEMBERS_MAX)
        return say(error, size, HG_EPROTO, "the node has no ring: its cluster is one node");
    plan->names = hg_calloc(plan->count + 1, sizeof(*plan->names));
    plan->lost = hg_calloc(plan->count + 1, sizeof(*plan->lost));
    plan->gained = hg_calloc(plan->count + 1, sizeof(*plan->gained));
    if (plan->names == NULL || plan->lost == NULL || plan->gained == NULL)
        return HG_ENOMEM;
    for (size_t i = 0; i < plan->count; i++) {
        const json_t *name = json_object_get(json_array_get(members, i), "name");
        plan->names[i] = hg_bytes(json_string_value(name), json_string_length(name));
    }
    plan->names[plan->count] = hg_bytes_str(plan->name);
    return HG_OK;
}

static bool has_scheme(struct hg_bytes name)
{
    return name.len > 0 && memmem(name.data, name.len, "://", 3) != NULL;
}

/* The members as they will be; `names` loses its order for it. */
static int build_after(struct plan *plan, const struct hg_ring_preset *preset, char *error,
                       size_t size)
{
    long index = hg_ring_find(plan->before, hg_bytes_str(plan->name));
    size_t count = plan->count + 1;
    if (plan->is_join && index >= 0)
        return say(error, size, HG_EINVAL, "--join: it is a member already");
    if (plan->is_join && has_scheme(hg_bytes_str(plan->name)) != has_scheme(plan->names[0])) {
        char shown[80];
        snprintf(error, size, "--join: write it as the members are written, such as %s",
                 hg_bytes_escape(plan->names[0], shown, sizeof(shown)));
        return HG_EINVAL;
    }
    if (!plan->is_join && index < 0)
        return say(error, size, HG_EINVAL,
                   "--leave: no member has that name; names are as `hgcache ring` has them");
    if (!plan->is_join && plan->count == 1)
        return say(error, size, HG_EINVAL, "--leave: it is the only member");
    if (!plan->is_join) {
        count = plan->count - 1;
        plan->names[index] = plan->names[count];
    }
    int err = hg_ring_create(preset, plan->names, count, &plan->after);
    return err == HG_ELIMIT ? say(error, size, HG_EINVAL, "--join: there are too many members")
                            : err;
}

static int build_rings(struct plan *plan, const json_t *page, char *error, size_t size)
{
    const char *hash = json_string_value(json_object_get(page, "hash"));
    const char *ours = json_string_value(json_object_get(page, "fingerprint"));
    json_int_t points = json_integer_value(json_object_get(page, "points"));
    char fingerprint[32];
    if (hash == NULL || ours == NULL || points <= 0 || points > HG_RING_POINTS_MAX)
        return say(error, size, HG_EPROTO, "the node has no ring: its cluster is one node");
    struct hg_ring_preset preset = {.name = "custom",
                                    .hash =
                                        strcmp(hash, "crc32") == 0 ? HG_RING_CRC32 : HG_RING_XXH64,
                                    .points = (unsigned)points};
    int err = hg_ring_create(&preset, plan->names, plan->count, &plan->before);
    if (err == HG_ENOMEM)
        return err;
    snprintf(fingerprint, sizeof(fingerprint), "%016llx",
             err < 0 ? 0ULL : (unsigned long long)hg_ring_fingerprint(plan->before));
    if (err < 0 || strcmp(fingerprint, ours) != 0)
        return say(error, size, HG_EPROTO, "the node builds its ring otherwise than this program");
    return build_after(plan, &preset, error, size);
}

static json_t *bytes_json(struct hg_bytes bytes)
{
    return json_stringn(bytes.data, bytes.len);
}

/* Who joins takes from all; who leaves gives to all. */
static json_t *moves_json(const struct plan *plan)
{
    const struct hg_ring *others = plan->is_join ? plan->before : plan->after;
    const double *shares = plan->is_join ? plan->lost : plan->gained;
    json_t *moves = json_array();
    for (size_t i = 0; i < hg_ring_member_count(others) && moves != NULL; i++) {
        json_t *other = bytes_json(hg_ring_member(others, i));
        if (shares[i] > 0)
            json_array_append_new(moves, json_pack("{s:O, s:s, s:f}", plan->is_join ? "from" : "to",
                                                   other, plan->is_join ? "to" : "from", plan->name,
                                                   "share", shares[i]));
        json_decref(other);
    }
    return moves;
}

static double share_of(const struct hg_ring *ring, struct hg_bytes name)
{
    long index = hg_ring_find(ring, name);
    return index < 0 ? 0 : hg_ring_share(ring, (size_t)index);
}

static json_t *members_json(const struct plan *plan)
{
    const struct hg_ring *all = plan->is_join ? plan->after : plan->before;
    json_t *members = json_array();
    for (size_t i = 0; i < hg_ring_member_count(all) && members != NULL; i++) {
        struct hg_bytes name = hg_ring_member(all, i);
        json_array_append_new(members, json_pack("{s:o, s:f, s:f}", "name", bytes_json(name),
                                                 "before", share_of(plan->before, name), "after",
                                                 share_of(plan->after, name)));
    }
    return members;
}

int hg_ring_plan_create(const json_t *page, bool is_join, const char *name, json_t **out_plan,
                        char *error, size_t error_size)
{
    struct plan plan = {.is_join = is_join, .name = name};
    char fingerprint[32];
    snprintf(error, error_size, "%s", hg_err_text(HG_ENOMEM));
    int err = read_members(&plan, json_object_get(page, "members"), error, error_size);
    if (err == HG_OK)
        err = build_rings(&plan, page, error, error_size);
    if (err == HG_OK) {
        double moved = hg_ring_moved(plan.before, plan.after, plan.lost, plan.gained);
        snprintf(fingerprint, sizeof(fingerprint), "%016llx",
                 (unsigned long long)hg_ring_fingerprint(plan.after));
        *out_plan =
            json_pack("{s:s, s:s, s:f, s:s, s:o, s:o}", "change", is_join ? "join" : "leave",
                      "member", name, "moved", moved, "fingerprint", fingerprint, "moves",
                      moves_json(&plan), "members", members_json(&plan));
        err = *out_plan == NULL ? HG_ENOMEM : HG_OK;
    }
    hg_ring_destroy(plan.after);
    hg_ring_destroy(plan.before);
    hg_free(plan.gained);
    hg_free(plan.lost);
    hg_free(plan.names);
    return err;
}

static double number_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

/* A text as it is, a share in percent. */
static int add(struct hg_text_table *table, const json_t *value)
{
    char percent[64];
    const char *cell = json_is_string(value)
                           ? json_string_value(value)
                           : hg_ring_percent(json_number_value(value), percent, sizeof(percent));
    return hg_text_table_add(table, hg_bytes_str(cell));
}

/* Three members of each row, and a bar of the last. */
static int show(const json_t *rows, const char *const heads[3], const char *const names[3],
                bool colour, FILE *out)
{
    struct hg_text_table table;
    char bar[64];
    double most = 0;
    int rc = HG_OK;
    hg_text_table_init(&table, 4, true);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        double share = number_of(json_array_get(rows, i), names[2]);
        most = share > most ? share : most;
    }
    for (size_t k = 0; k < 4 && rc == HG_OK; k++)
        rc = hg_text_table_add(&table, hg_bytes_str(k < 3 ? heads[k] : ""));
    for (size_t i = 0; i < json_array_size(rows) && rc == HG_OK; i++) {
        const json_t *row = json_array_get(rows, i);
        for (size_t k = 0; k < 3 && rc == HG_OK; k++)
            rc = add(&table, json_object_get(row, names[k]));
        if (rc == HG_OK)
            rc = hg_text_table_add(
                &table, hg_bytes_str(hg_ring_bar(number_of(row, names[2]), most, bar, sizeof(bar))));
    }
    if (rc == HG_OK)
        hg_text_table_print(&table, colour, out);
    hg_text_table_finish(&table);
    return rc;
}

int hg_ring_plan_show(const json_t *plan, bool colour, FILE *out)
{
    const char *change = json_string_value(json_object_get(plan, "change"));
    char percent[64];
    const char *moved = hg_ring_percent(number_of(plan, "moved"), percent, sizeof(percent));
    fprintf(out, "%s would %s: %s of the keys move\n\n",
            json_string_value(json_object_get(plan, "member")), change, moved + strspn(moved, " "));
    static const char *const move_heads[] = {"from", "to", "   keys"};
    static const char *const move_names[] = {"from", "to", "share"};
    static const char *const member_heads[] = {"member", " before", "  after"};
    static const char *const member_names[] = {"name", "before", "after"};
    int rc = show(json_object_get(plan, "moves"), move_heads, move_names, colour, out);
    fputc('\n', out);
    return rc == HG_OK ? show(json_object_get(plan, "members"), member_heads, member_names, colour, out)
                       : rc;
}
