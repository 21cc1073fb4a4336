#include "node/node_impl.h"

bool hg_auth_is_allowed(const struct hg_http1_request *request, const struct hg_strings *tokens)
{
    if (tokens->count == 0)
        return true;
    struct hg_bytes given = request->authorization;
    struct hg_bytes scheme = HG_BYTES("Bearer ");
    if (given.len < scheme.len || !hg_bytes_eq_nocase(hg_bytes(given.data, scheme.len), scheme))
        return false;
    given = hg_bytes_trim(hg_bytes(given.data + scheme.len, given.len - scheme.len));
    /* Every token is compared, so that the time does not tell which one was near. */
    bool allowed = false;
    for (size_t i = 0; i < tokens->count; i++)
        allowed |= hg_bytes_eq_secret(given, tokens->items[i]);
    return allowed;
}

bool hg_auth_is_local(const struct hg_exchange *exchange)
{
    char remote[HG_PEER_TEXT_MAX];
    hg_exchange_remote(exchange, remote);
    return strncmp(remote, "127.", 4) == 0 || strncmp(remote, "[::1]", 5) == 0 ||
           strncmp(remote, "[::ffff:127.", 12) == 0 || strncmp(remote, "unix", 4) == 0;
}
