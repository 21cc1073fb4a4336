/*
 * pack - Lua values as bytes, to carry them from one Lua state into another.
 *
 * nil, booleans, numbers, strings, hg.null and tables of them, at most HG_PACK_DEPTH deep. What else there is (functions,
 * userdata, coroutines) cannot leave its state.
 */
#ifndef HG_SCRIPT_PACK_H
#define HG_SCRIPT_PACK_H

#include <lua.h>
#include "base/buf.h"

#define HG_PACK_DEPTH 32

/*
 * Appends the values from stack index `first` to the top. HG_OK, HG_ENOMEM, HG_ETOOBIG, or HG_EINVAL with the kind of
 * what cannot be carried in *out_kind. Raises nothing.   [-0, +0, -]
 */
int hg_pack(lua_State *L, int first, struct hg_buf *buf, const char **out_kind);
/* Pushes what is in there; the number.   [-0, +n, m] */
int hg_unpack(lua_State *L, struct hg_bytes bytes);

#endif
