/*
 * http2_client_impl - inside of http2_client.
 */
#ifndef HG_WIRE_HTTP2_CLIENT_IMPL_H
#define HG_WIRE_HTTP2_CLIENT_IMPL_H

#include <nghttp2/nghttp2.h>

#include "wire/http2_client.h"

struct hg_http2_client {
    nghttp2_session *session;
    struct hg_list calls, arrived, ended;
    size_t call_count;
    uint64_t timeout_ms;
    uint64_t heard_ms;  /* any byte */
    uint64_t waits_ms;  /* since when something is under way */
    uint64_t pinged_ms; /* the PING that is under way was sent */
    uint64_t check_ms;  /* when the next check is due; HG_FOREVER: none */
    bool is_pinging, is_ready, is_flooded;
};

#endif
