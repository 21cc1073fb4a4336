/*
 * fetch_impl - what the files of fetch share, and for peers how many connections to one host a fetcher keeps at most, and when it heard last.
 */
#ifndef HG_NET_FETCH_IMPL_H
#define HG_NET_FETCH_IMPL_H

#include "net/curl_library.h"
#include "net/fetch.h"

struct hg_fetch {
    struct hg_list link, arrived, settled;
    struct hg_fetcher *fetcher;
    CURL *easy;
    struct curl_slist *header_list;
    char *request_body;
    struct hg_buf headers, body;
    hg_fetch_fn done;
    hg_fetch_data_fn data;
    hg_fetch_connected_fn connected;
    void *ctx;
    uint64_t timeout_ms, started_ms;
    uint64_t heard_ms; /* bytes came, or it was started */
    int cancel_err; /* not HG_OK: canceled with this, `mail` is under way */
    int open_errno; /* of socket(): a lack of ours, not a fault of theirs */
    bool is_too_big, is_out_of_memory;
    bool is_new_connection, is_connected; /* is_connected: to be told */
    bool has_head; /* the empty line behind the headers has come */
    /* In pieces: */
    hg_fetch_moved_fn moved;
    struct hg_buf fed; /* of the request's body */
    size_t received_bytes, body_max;
    bool has_fed_all, is_receive_paused, is_send_paused;
    bool is_fed, is_unpacked;
    unsigned coding_count; /* of the answer's body */
    const char *refusal;   /* NULL, or why the answer is not taken */
    curl_socket_t fd;      /* that libcurl watches for it, and whether it reads from there */
    bool is_reading;
    struct hg_mail mail;
    char error[CURL_ERROR_SIZE];
};

/* Before the first fetch. 0 = no limit. Probes need one without: they must not wait behind the very requests they are about. */
void hg_fetcher_limit_host(struct hg_fetcher *fetcher, long connection_count);
/* Whether the request has left (part of it). */
bool hg_fetch_is_sent(const struct hg_fetch *fetch);
/* It is told that it moved, once libcurl has returned. */
void hg_fetch_note(struct hg_fetch *fetch);

/* fetch_pieces.c */
int hg_fetch_pieces_set_up(struct hg_fetch *fetch, const struct hg_fetch_options *options);
/* A line of the answer's head. False: its body cannot be unpacked within bounds, as fetch->refusal says. */
bool hg_fetch_pieces_can_unpack(struct hg_fetch *fetch, struct hg_bytes line);
/* What libcurl watches the descriptor for. fetch may be NULL. */
void hg_fetch_pieces_watch(struct hg_fetch *fetch, curl_socket_t fd, int what);
/* The whole answer has come, while the request's body is still being sent: of no use inside of libcurl. */
bool hg_fetch_pieces_is_answered(const struct hg_fetch *fetch);
size_t hg_fetch_pieces_body(struct hg_fetch *fetch, struct hg_bytes bytes); /* as libcurl's write function answers */

/* fetch_connection.c: how a connection is opened, and that there is one. */
void hg_fetch_set_connection(struct hg_fetch *fetch, const struct hg_fetch_options *options);
/* fetch_tls.c: whom it trusts and who we are. */
void hg_fetch_set_tls(CURL *easy, const struct hg_fetch_options *options);

#endif
