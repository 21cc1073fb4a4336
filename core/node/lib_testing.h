/* lib_testing - what specs have of a harness (node/harness.h), for lua/hgcache/testing.lua to require. */
#ifndef HG_NODE_LIB_TESTING_H
#define HG_NODE_LIB_TESTING_H

#include <lua.h>

/* [-0, +0, m] */
void hg_lib_testing_preload(lua_State *L);

#endif
