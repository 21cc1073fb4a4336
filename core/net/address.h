/*
 * address - "127.0.0.1:8001", "[::1]:80", "localhost:8001", "unix:/path": parsing and listening.
 */
#ifndef HG_NET_ADDRESS_H
#define HG_NET_ADDRESS_H

#include <sys/socket.h>
#include <sys/un.h>
#include <stdint.h>
#include "base/bytes.h"

struct hg_address {
    struct sockaddr_storage storage;
    socklen_t len;
    bool is_unix;
    char text[160]; /* as given */
};

/* HG_EINVAL with a message; a host name is resolved (blocking; start-up only). */
int hg_address_parse(struct hg_bytes text, struct hg_address *out_address, char *error, size_t error_size);
/* Of a whole IPv4 or IPv6 address, which may name its zone ("fe80::1%eth0"). False: it is none, perhaps a name. */
bool hg_address_numeric(const char *host, uint16_t port, struct sockaddr_storage *out_storage);
/* 127.0.0.0/8, ::1 and unix sockets. */
bool hg_address_is_loopback(const struct hg_address *address);
/* Bound, listening, non-blocking, close-on-exec. A stale unix socket nobody listens on is replaced. HG_EADDRINUSE, HG_EACCES, HG_EADDR with a message. */
int hg_address_listen(const struct hg_address *address, int backlog, int *out_fd, char *error, size_t error_size);
/* "127.0.0.1:54321" of a connected socket's other end; "unix", and "unknown" where that is not known. */
#define HG_PEER_TEXT_MAX 56
void hg_address_peer_text(int fd, char buf[static HG_PEER_TEXT_MAX]);

#endif
