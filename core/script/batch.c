/*
 * What get_many(keys, ctx) returned: { [key] = value, hg.value(v, opts), hg.not_found{} or hg.fail{} }, absent = not found. Raw
 * reads only, as for a getter.
 */
#include "script/runtime_impl.h"

#include "base/alloc.h"

void hg_outcome_finish(struct hg_outcome *outcome)
{
    if (outcome->kind == HG_OUTCOME_RESULT)
        hg_value_unref(outcome->result);
    for (size_t i = 0; i < outcome->result_count; i++)
        hg_value_unref(outcome->results[i]);
    hg_free(outcome->results);
    outcome->result = NULL;
    outcome->results = NULL;
    outcome->result_count = 0;
}

/* The value of one key is on top; popped. NULL: out of memory, which lands as an error. */
static struct hg_value *convert_one(lua_State *L, const struct hg_load *load)
{
    struct hg_outcome one = {0};
    int first = lua_gettop(L);

    hg_convert_result(L, first, 1, load->flight.key, &one);
    lua_settop(L, first - 1);
    if (one.kind == HG_OUTCOME_RESULT)
        return one.result;
    if (one.kind == HG_OUTCOME_KEEP)
        hg_outcome_error(&one, HG_CLASS_INTERNAL, "hg.keep is nothing that get_many returns");
    return hg_load_error_value(load, one.klass, one.message, one.retry_after_ms);
}

static struct hg_value *value_of(lua_State *L, int table, const struct hg_load *load)
{
    lua_pushlstring(L, load->flight.key.data, load->flight.key.len);
    lua_rawget(L, table);
    return convert_one(L, load);
}

static bool is_plain_table(lua_State *L, int index)
{
    if (!lua_istable(L, index))
        return false;
    lua_pushliteral(L, "__hgcache");
    lua_rawget(L, index);
    bool is_plain = lua_isnil(L, -1);
    lua_pop(L, 1);
    return is_plain;
}

void hg_convert_many(lua_State *L, int count, struct hg_load *leader, size_t batch_count,
                     struct hg_outcome *outcome)
{
    if (count < 1 || !is_plain_table(L, 1)) {
        bool is_nothing = count < 1 || (lua_isnil(L, 1) && (count < 2 || lua_isnil(L, 2)));
        if (!is_nothing)
            hg_convert_result(L, 1, count, leader->flight.key, outcome);
        if (is_nothing || outcome->kind != HG_OUTCOME_ERROR) {
            hg_outcome_finish(outcome);
            hg_outcome_error(outcome, HG_CLASS_INTERNAL,
                             "get_many: expected a table of the keys that were found");
            outcome->is_final = true;
        }
        return;
    }
    outcome->results = hg_calloc(batch_count, sizeof(struct hg_value *));
    if (outcome->results == NULL) {
        hg_outcome_error(outcome, HG_CLASS_UNAVAILABLE, "out of memory");
        return;
    }
    outcome->kind = HG_OUTCOME_MANY;
    outcome->result_count = batch_count;
    lua_settop(L, 1);
    size_t index = 0;
    outcome->results[index++] = value_of(L, 1, leader);
    hg_list_for_each(it, &leader->followers) outcome->results[index++] =
        value_of(L, 1, hg_container_of(it, struct hg_load, link));
}
