/*
 * client - one request to a node's admin listener: HTTP/1.1, no proxy, no redirects.
 *
 * libcurl is loaded with the first request, so that `hgcache run` does not pay for it. Blocks until
 * the answer is there.
 */
#ifndef HG_CLI_CLIENT_H
#define HG_CLI_CLIENT_H

#include "base/buf.h"

#define HG_CLIENT_BODY_MAX ((size_t)256 * 1024 * 1024)

struct hg_client_request {
    const char *node; /* "http://host:port" or "unix:/path" */
    const char *method;
    const char *path;  /* with its query, encoded */
    const char *token; /* NULL = none */
    bool has_body;
    struct hg_bytes body;
};

struct hg_client_response {
    int status;
    struct hg_buf body;
    char error[512]; /* why there is no answer */
};

/* HG_OK with an answer of any status; else error says why. Finish the response in any case. */
int hg_client_send(const struct hg_client_request *request, struct hg_client_response *response);
void hg_client_response_finish(struct hg_client_response *response);

#endif
