#include "script/pack.h"

#include <lauxlib.h>
#include <string.h>
#include "base/err.h"

static int pack_value(lua_State *L, int index, struct hg_buf *buf, int depth,
                      const char **out_kind);

static int put(struct hg_buf *buf, char tag, const void *data, size_t len)
{
    int err = hg_buf_append_char(buf, tag);
    return err < 0 ? err : hg_buf_append(buf, data, len);
}

/* Pairs, and `E` behind the last. */
static int pack_table(lua_State *L, int index, struct hg_buf *buf, int depth, const char **out_kind)
{
    if (depth >= HG_PACK_DEPTH) {
        *out_kind = "table that deep";
        return HG_EINVAL;
    }
    if (!lua_checkstack(L, 4))
        return HG_ENOMEM;
    int err = hg_buf_append_char(buf, 'T');
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        int top = lua_gettop(L);
        if (err == HG_OK)
            err = pack_value(L, top - 1, buf, depth + 1, out_kind);
        if (err == HG_OK)
            err = pack_value(L, top, buf, depth + 1, out_kind);
        lua_pop(L, 1);
        if (err < 0) {
            lua_pop(L, 1);
            return err;
        }
    }
    return err < 0 ? err : hg_buf_append_char(buf, 'E');
}

static int pack_value(lua_State *L, int index, struct hg_buf *buf, int depth, const char **out_kind)
{
    int type = lua_type(L, index);

    if (type == LUA_TNIL || (type == LUA_TLIGHTUSERDATA && lua_touserdata(L, index) == NULL))
        return hg_buf_append_char(buf, type == LUA_TNIL ? 'N' : '0');
    if (type == LUA_TBOOLEAN)
        return hg_buf_append_char(buf, lua_toboolean(L, index) ? 't' : 'f');
    if (type == LUA_TNUMBER) {
        double number = lua_tonumber(L, index);
        return put(buf, 'D', &number, sizeof(number));
    }
    if (type == LUA_TSTRING) {
        size_t len;
        const char *text = lua_tolstring(L, index, &len);
        int err = put(buf, 'S', &len, sizeof(len));
        return err < 0 ? err : hg_buf_append(buf, text, len);
    }
    if (type == LUA_TTABLE)
        return pack_table(L, index, buf, depth, out_kind);
    *out_kind = lua_typename(L, type);
    return HG_EINVAL;
}

int hg_pack(lua_State *L, int first, struct hg_buf *buf, const char **out_kind)
{
    int err = HG_OK, top = lua_gettop(L);

    for (int i = first; i <= top && err == HG_OK; i++)
        err = pack_value(L, i, buf, 0, out_kind);
    return err;
}

/* The bytes are our own: cut ones are our mistake. */
static const char *unpack_value(lua_State *L, const char *at)
{
    char tag = *at++;
    double number;
    size_t len;

    switch (tag) {
    case 'N':
        lua_pushnil(L);
        return at;
    case '0':
        lua_pushlightuserdata(L, NULL);
        return at;
    case 't':
    case 'f':
        lua_pushboolean(L, tag == 't');
        return at;
    case 'D':
        memcpy(&number, at, sizeof(number));
        lua_pushnumber(L, number);
        return at + sizeof(number);
    case 'S':
        memcpy(&len, at, sizeof(len));
        lua_pushlstring(L, at + sizeof(len), len);
        return at + sizeof(len) + len;
    default:
        luaL_checkstack(L, 4, "too deep");
        lua_newtable(L);
        while (*at != 'E') {
            at = unpack_value(L, at);
            at = unpack_value(L, at);
            lua_rawset(L, -3);
        }
        return at + 1;
    }
}

int hg_unpack(lua_State *L, struct hg_bytes bytes)
{
    const char *at = bytes.data, *end = bytes.data + bytes.len;
    int count = 0;

    for (; bytes.len > 0 && at < end; count++) {
        luaL_checkstack(L, 2, "too many results");
        at = unpack_value(L, at);
    }
    return count;
}
