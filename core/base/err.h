/*
 * err - the one list of what can go wrong.
 *
 * Functions return int: negative is an hg_err, HG_OK is zero, positive is a documented success
 * (HG_PENDING: the answer comes by callback, exactly once, never before the starter returned).
 * Foreign codes are translated at the door (hg_err_from_uv in net, ...).
 */
#ifndef HG_BASE_ERR_H
#define HG_BASE_ERR_H

#define HG_ERRORS(X)                                                                               \
    X(ENOMEM, -1, "out of memory")                                                                 \
    X(EINVAL, -2, "invalid argument")                                                              \
    X(ETOOBIG, -3, "too big")                                                                      \
    X(ELIMIT, -4, "a limit was reached")                                                           \
    X(ECANCELED, -5, "canceled")                                                                   \
    X(ETIMEDOUT, -6, "deadline passed")                                                            \
    X(EIO, -7, "input/output error")                                                               \
    X(EPROTO, -8, "malformed message")                                                             \
    X(EPEER, -9, "peer failed")                                                                    \
    X(ECLOSED, -10, "closed")                                                                      \
    X(EADDRINUSE, -11, "address in use")                                                           \
    X(EADDR, -12, "bad or unavailable address")                                                    \
    X(EACCES, -13, "permission denied")                                                            \
    X(ERECURSIVE, -14, "recursive load")                                                           \
    X(EDRAINING, -15, "draining")                                                                  \
    X(ESCRIPT, -16, "script error")                                                                \
    X(ENOENT, -17, "no such thing")

enum hg_err {
#define X(name, value, text) HG_##name = value,
    HG_ERRORS(X)
#undef X
    HG_OK = 0,
    HG_PENDING = 1,
};

/* "ENOMEM"; "EUNKNOWN" for a number that is none of ours. Static storage. */
const char *hg_err_name(int err);
/* "out of memory". Static storage. */
const char *hg_err_text(int err);

#endif
