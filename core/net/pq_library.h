/*
 * pq_library - libpq, loaded when it is first needed: with its TLS and Kerberos it costs milliseconds and megabytes that a
 * node without PostgreSQL need not pay.
 *
 * Threads    load from any; hg_pq is set once and may be read by whoever called load.
 */
#ifndef HG_NET_PQ_LIBRARY_H
#define HG_NET_PQ_LIBRARY_H

#include <libpq-fe.h>

/* The functions that we use, without "PQ". */
#define HG_PQ_FUNCTIONS(X)                                                                         \
    X(conninfoParse)                                                                               \
    X(conninfoFree) X(freemem) X(connectStartParams) X(connectPoll) X(status) X(socket)            \
        X(setnonblocking) X(setNoticeReceiver) X(errorMessage) X(finish) X(sendQueryParams)        \
            X(setSingleRowMode) X(flush) X(consumeInput) X(isBusy) X(getResult)                    \
                X(transactionStatus) X(notifies) X(resultStatus) X(resultErrorField)               \
                    X(resultErrorMessage) X(ntuples) X(nfields) X(fname) X(ftype) X(getvalue)      \
                        X(getlength) X(getisnull) X(cmdTuples) X(clear) X(sslInUse) X(getCancel)   \
                            X(cancel) X(freeCancel)

struct hg_pq {
#define X(name) __typeof__(&PQ##name) name;
    HG_PQ_FUNCTIONS(X)
#undef X
};

extern const struct hg_pq *hg_pq;

/* HG_OK with hg_pq set, or HG_EIO: there is no libpq.so.5. The first call decides. */
int hg_pq_load(void);

#endif
