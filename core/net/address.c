#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "net/loop.h"

#define SHOWN_MAX 200

static int refuse(struct hg_bytes text, const char *why, char *error, size_t error_size)
{
    char shown[SHOWN_MAX];
    snprintf(error, error_size,
             "bad address \"%s\": %s (expected host:port, [ipv6]:port or unix:/path)",
             hg_bytes_escape(text, shown, sizeof(shown)), why);
    return HG_EINVAL;
}

static int parse_unix(struct hg_bytes text, struct hg_bytes path, struct hg_address *address,
                      char *error, size_t error_size)
{
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&address->storage;
    if (path.len == 0 || memchr(path.data, '\0', path.len) != NULL)
        return refuse(text, "no path", error, error_size);
    if (path.len >= sizeof(un->sun_path))
        return refuse(text, "the path is too long", error, error_size);
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path.data, path.len);
    address->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    address->is_unix = true;
    return HG_OK;
}

/* An IPv4 result is preferred: "localhost:8001" is then where other programs look for it first. */
static bool resolve(const char *host, uint16_t port, struct hg_address *address)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (strcmp(host, "localhost") == 0) {
        /* RFC 6761 6.3: this machine, also where nothing resolves names. */
        host = "127.0.0.1";
        hints.ai_flags = AI_NUMERICHOST;
    }
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    const struct addrinfo *best = NULL;
    for (const struct addrinfo *it = found; it != NULL; it = it->ai_next) {
        if (it->ai_family != AF_INET && it->ai_family != AF_INET6)
            continue;
        if (best == NULL || (best->ai_family == AF_INET6 && it->ai_family == AF_INET))
            best = it;
    }
    if (best != NULL) {
        memcpy(&address->storage, best->ai_addr, best->ai_addrlen);
        address->len = best->ai_addrlen;
        if (best->ai_family == AF_INET)
            ((struct sockaddr_in *)(void *)&address->storage)->sin_port = htons(port);
        else
            ((struct sockaddr_in6 *)(void *)&address->storage)->sin6_port = htons(port);
    }
    freeaddrinfo(found);
    return best != NULL;
}

int hg_address_parse(struct hg_bytes text, struct hg_address *out_address, char *error,
                     size_t error_size)
{
    struct hg_address address = {.is_unix = false};
    if (text.len == 0)
        return refuse(text, "it is empty", error, error_size);
    if (text.len >= sizeof(address.text))
        return refuse(text, "it is too long", error, error_size);
    memcpy(address.text, text.data, text.len);

    if (hg_bytes_has_prefix(text, HG_BYTES("unix:"))) {
        int err =
            parse_unix(text, hg_bytes(text.data + 5, text.len - 5), &address, error, error_size);
        if (err == HG_OK)
            *out_address = address;
        return err;
    }

    const char *colon = memrchr(text.data, ':', text.len);
    if (colon == NULL)
        return refuse(text, "no port", error, error_size);
    struct hg_bytes host = hg_bytes(text.data, (size_t)(colon - text.data));
    unsigned long long port;
    if (!hg_bytes_to_u64(hg_bytes(colon + 1, text.len - host.len - 1), &port) || port > 65535)
        return refuse(text, "the port is no number from 0 to 65535", error, error_size);

    char name[sizeof(address.text)];
    bool is_bracketed = host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']';
    if (is_bracketed)
        host = hg_bytes(host.data + 1, host.len - 2);
    else if (host.len > 0 && memchr(host.data, ':', host.len) != NULL)
        return refuse(text, "an IPv6 address stands in brackets", error, error_size);
    if (memchr(host.data, '\0', host.len) != NULL)
        return refuse(text, "it holds a NUL byte", error, error_size);
    memcpy(name, host.data, host.len);
    name[host.len] = '\0';

    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address.storage;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&address.storage;
    struct in6_addr ip6;
    struct in_addr ip;
    if (is_bracketed) {
        if (inet_pton(AF_INET6, name, &ip6) != 1)
            return refuse(text, "no IPv6 address in the brackets", error, error_size);
        in6->sin6_family = AF_INET6;
        in6->sin6_addr = ip6;
        in6->sin6_port = htons((uint16_t)port);
        address.len = sizeof(*in6);
    } else if (host.len == 0 || strcmp(name, "*") == 0 || inet_pton(AF_INET, name, &ip) == 1) {
        in->sin_family = AF_INET;
        in->sin_addr.s_addr =
            host.len == 0 || strcmp(name, "*") == 0 ? htonl(INADDR_ANY) : ip.s_addr;
        in->sin_port = htons((uint16_t)port);
        address.len = sizeof(*in);
    } else if (!resolve(name, (uint16_t)port, &address)) {
        return refuse(text, "the host name does not resolve", error, error_size);
    }
    *out_address = address;
    return HG_OK;
}

bool hg_address_numeric(const char *host, uint16_t port, struct sockaddr_storage *out_storage)
{
    return uv_ip4_addr(host, port, (struct sockaddr_in *)out_storage) == 0 ||
           uv_ip6_addr(host, port, (struct sockaddr_in6 *)out_storage) == 0;
}

bool hg_address_is_loopback(const struct hg_address *address)
{
    if (address->is_unix)
        return true;
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&address->storage;
        return (ntohl(in->sin_addr.s_addr) >> 24) == 127;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&address->storage;
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        return in6->sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

/*
 * Whether the socket file is a left-over: nobody accepts there any more. A file that is no socket
 * is none of ours.
 */
static bool unix_is_stale(const struct hg_address *address)
{
    struct stat stat;
    const char *path = ((const struct sockaddr_un *)(const void *)&address->storage)->sun_path;
    if (lstat(path, &stat) < 0 || !S_ISSOCK(stat.st_mode)) {
        errno = EADDRINUSE;
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool is_refused = connect(fd, (const struct sockaddr *)&address->storage, address->len) < 0 &&
                      errno == ECONNREFUSED;
    close(fd);
    errno = EADDRINUSE;
    return is_refused;
}

int hg_address_listen(const struct hg_address *address, int backlog, int *out_fd, char *error,
                      size_t error_size)
{
    const struct sockaddr *sockaddr = (const struct sockaddr *)&address->storage;
    int yes = 1;
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        goto fail;
    if (!address->is_unix)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(fd, sockaddr, address->len) < 0) {
        if (!address->is_unix || errno != EADDRINUSE || !unix_is_stale(address))
            goto fail;
        unlink(((const struct sockaddr_un *)(const void *)sockaddr)->sun_path);
        if (bind(fd, sockaddr, address->len) < 0)
            goto fail;
    }
    if (listen(fd, backlog) < 0)
        goto fail;
    *out_fd = fd;
    return HG_OK;

fail:;
    int error_number = errno;
    int err = hg_err_from_errno(error_number);
    snprintf(error, error_size, "cannot listen on %s: %s", address->text, strerror(error_number));
    if (fd >= 0)
        close(fd);
    return err == HG_EADDRINUSE || err == HG_EACCES ? err : HG_EADDR;
}

void hg_address_peer_text(int fd, char buf[static HG_PEER_TEXT_MAX])
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof(storage);
    char host[INET6_ADDRSTRLEN];

    if (getpeername(fd, (struct sockaddr *)&storage, &len) < 0) {
        snprintf(buf, HG_PEER_TEXT_MAX, "unknown");
    } else if (storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&storage;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(buf, HG_PEER_TEXT_MAX, "%s:%u", host, (unsigned)ntohs(in->sin_port));
    } else if (storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&storage;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(buf, HG_PEER_TEXT_MAX, "[%s]:%u", host, (unsigned)ntohs(in6->sin6_port));
    } else {
        snprintf(buf, HG_PEER_TEXT_MAX, "unix");
    }
}
