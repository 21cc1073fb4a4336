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
    X(ANSWER_TWICE, "who leaves while its answer is under way is told it left")                     \
    X(EXPIRY_OFF, "an entry is fresh for a millisecond too long")                                   \
    X(STALE_FOREVER, "stale windows have no end")                                                   \
    X(COPY_WINDOWS, "copies of other nodes' values have stale windows")                             \
    X(FORWARD_TWICE, "a peer's request is forwarded to another peer")                               \
    X(JOIN_REMOTE, "a peer's request joins a load that waits for a peer")                           \
    X(MISCOUNT, "who joins a load is not counted")                                                  \
    X(TWO_LOADS, "a miss does not look for a load that runs")                                       \
    X(CIRCLE, "getters may wait for each other in a circle")                                        \
    X(STORE_AFTER_REMOVE, "what was loaded before a remove is stored after it")                     \
    X(TAG_FORGOTTEN, "what was loaded before the removal of its tag is stored")                     \
    X(YOUNG_GET_OLD, "who came after a remove gets what was loaded before it")                      \
    X(KEEP_TIER, "hg.keep leaves a copy among the copies")                                          \
    X(LEAK_FLIGHT, "a refresh is counted as flying for ever")                                       \
    X(CACHE_ERROR, "errors live as long as values")                                                 \
    X(CACHE_ABSENCE, "\"not found\" lives as long as values")                                       \
    X(FALLBACK_FOREVER, "what is loaded for an owner that is away lives as long as values")         \
    X(STORE_OVERSIZED, "values over the limit are stored")                                          \
    X(KEEP_SLOT, "a load that nobody awaits any more keeps its slot")                               \
    X(ONE_TOO_MANY, "one getter more runs than may")                                                \
    X(FORGET_QUEUED, "who queues is forgotten when the breaker opens")                              \
    X(COPY_FULL_LIFE, "copies live as long as values")                                              \
    X(RETRY_TYPED, "an error of the owner is loaded once more here")                                \
    X(DEADLINE_FALLBACK, "a slow owner is taken for a dead one")                                    \
    X(LOSE_SPLICED, "waiters that go over to another load are forgotten")                           \
    X(SKIP_COPY, "a remove leaves copies of other nodes' values")                                   \
    X(FLUSH_MISSES_SHARD, "a flush leaves out the last shard")                                      \
    X(SET_NO_FENCE, "a set does not fence what is being loaded")                                    \
    X(FORGET_BYTE, "replacing a value forgets one of its bytes")                                    \
    X(NO_BUDGET, "a value is put although nothing can be evicted for it")                           \
    X(RING_BY_LIST, "the ring depends on the order of the list")                                    \
    X(WRONG_KEY, "an answer to another key is taken")                                               \
    X(COPY_NOT_STORED, "what an owner did not store is told to live on")                            \
    X(STAY_DOWN, "a peer that answers again stays down")                                            \
    X(HASTY, "a peer is given up without a probe")                                                  \
    X(LOSE_TAGS, "tags do not travel")                                                              \
    X(TELL_AT_ONCE, "a remove is told to the owner and to the others at one time")                  \
    X(TRUST_ALWAYS, "who stood still answers from its store at once")                              \
    X(FORGET_CHANGE, "a change is not written into the log")                                        \
    X(ONE_ROUND, "copies fetched while a tag or group is dropped elsewhere stay")                   \
    X(NOT_WAITED, "a write does not wait for who did not acknowledge")                              \
    X(CUT_UNSEEN, "a log that was cut counts as whole")                                             \
    X(LOSE_FOLLOWER, "of a batch of several one key is never answered")                             \
    X(SLOT_EACH, "a batch gives its slot back once for each key")                                   \
    X(LATE_CANCEL, "who leaves stays counted as waiting")                                           \
    X(COPY_OUTLIVES, "a hot copy lives on when its owner's value has ended")                        \
    X(CONTACT_UNCHECKED, "a hot copy is served although nothing is heard of the cluster")           \
    X(RENEW_ALWAYS, "each hit of a hot copy asks its owner")                                        \
    X(ERROR_UNBOUNDED, "errors in a row are remembered longer and longer")                          \
    X(MANY_NUMBER, "of a message of many keys an answer is given to the next key")                  \
    X(MANY_CUT, "keys of a message that was cut wait for ever")                                     \
    X(PEEK_UNSETTLED, "a newcomer believes a store that an invalidation may not have come to yet")

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
