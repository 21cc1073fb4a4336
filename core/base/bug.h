/*
 * bug - mistakes planted on purpose, so that the simulator can prove that it sees them (hgsim --bugs).
 *
 * Production builds have none: without HG_BUGS hg_bug() is the constant false and its branch is not even compiled in.
 */
#ifndef HG_BASE_BUG_H
#define HG_BASE_BUG_H

/* name, what it does */
#define HG_BUG_LIST(X)                                                                             \
    X(DROP_WAITER, "of three who wait one is never answered")                                      \
    X(LOSE_REFERENCE, "a waiter that joined keeps its reference")                                  \
    X(ANSWER_TWICE, "who leaves while its answer is under way is told it left")

enum hg_bug {
    HG_BUG_NONE,
#define X(name, text) HG_BUG_##name,
    HG_BUG_LIST(X)
#undef X
    HG_BUG_COUNT
};

#ifdef HG_BUGS
extern enum hg_bug hg_bug_on; /* sim/main.c */
#define hg_bug(bug) (hg_bug_on == (bug))
#else
#define hg_bug(bug) 0
#endif

#endif
