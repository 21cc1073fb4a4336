#include "net/fetch_impl.h"

#include <errno.h>
#include <sys/socket.h>

#define CONNECT_TIMEOUT_MS 250

static curl_socket_t on_curl_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct hg_fetch *fetch = ctx;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    address->protocol);
    if (fd < 0)
        fetch->open_errno = errno;
    fetch->is_new_connection = true;
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int on_curl_connected(void *ctx, char *their_ip, char *our_ip, int their_port, int our_port)
{
    struct hg_fetch *fetch = ctx;
    (void)their_ip, (void)our_ip, (void)their_port, (void)our_port;
    fetch->is_connected = true;
    hg_fetch_note(fetch);
    return CURL_PREREQFUNC_OK;
}

void hg_fetch_set_connection(struct hg_fetch *fetch, const struct hg_fetch_options *options)
{
    CURL *easy = fetch->easy;
    uint64_t connect_ms =
        options->connect_timeout_ms != 0 ? options->connect_timeout_ms : CONNECT_TIMEOUT_MS;

    hg_curl->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    hg_curl->easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_curl_open);
    hg_curl->easy_setopt(easy, CURLOPT_OPENSOCKETDATA, fetch);
    if (options->connected != NULL) {
        hg_curl->easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_curl_connected);
        hg_curl->easy_setopt(easy, CURLOPT_PREREQDATA, fetch);
    }
    if (options->fresh_connection) {
        hg_curl->easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
        hg_curl->easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    }
}
