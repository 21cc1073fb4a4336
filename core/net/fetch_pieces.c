/*
 * A fetch in pieces: its answer is taken, and its request's body given, as far as the other side and the script go.
 *
 *   libcurl -> body (at most HELD and one write) -> hg_fetch_take     full: the connection is not read
 *   hg_fetch_feed -> fed (at most HELD) -> libcurl                    empty: the connection is not written
 *
 * libcurl is paused by what its callbacks return, and goes on by easy_pause, which may call them.
 */
#include "net/fetch_impl.h"

/* What one write of libcurl may bring. */
#define WRITE_BYTES ((size_t)CURL_MAX_WRITE_SIZE)
/* Packed bytes that are read at a time: what they unpack to is held by libcurl once it is paused. */
#define PACKED_BYTES 4096L
/* What those may unpack to (deflate makes at most 1032 bytes of one). */
#define UNPACKED_BYTES_MAX ((size_t)PACKED_BYTES * 1032)

static size_t on_curl_feed(char *room, size_t size, size_t count, void *ctx)
{
    struct hg_fetch *fetch = ctx;
    size_t len = size * count < fetch->fed.len ? size * count : fetch->fed.len;

    if (len > 0) {
        memcpy(room, fetch->fed.data, len);
        hg_buf_consume(&fetch->fed, len);
    }
    if (!fetch->has_fed_all && fetch->fed.len == 0)
        hg_fetch_note(fetch);
    if (len > 0 || fetch->has_fed_all)
        return len;
    fetch->is_send_paused = true;
    return CURL_READFUNC_PAUSE;
}

/* A list of a header field: what counts of it is packing. */
static unsigned count_codings(struct hg_bytes list)
{
    unsigned count = 0;
    while (list.len > 0) {
        const char *comma = memchr(list.data, ',', list.len);
        size_t len = comma == NULL ? list.len : (size_t)(comma - list.data);
        struct hg_bytes item = hg_bytes_trim(hg_bytes(list.data, len));
        if (item.len > 0 && !hg_bytes_eq_nocase(item, HG_BYTES("identity")) &&
            !hg_bytes_eq_nocase(item, HG_BYTES("chunked")))
            count++;
        len = comma == NULL ? len : len + 1;
        list = hg_bytes(list.data + len, list.len - len);
    }
    return count;
}

/* Packed twice, a few bytes are gigabytes; and libcurl unpacks what is packed for the way, asked for or not. */
bool hg_fetch_pieces_can_unpack(struct hg_fetch *fetch, struct hg_bytes line)
{
    struct hg_bytes name, value;

    if (!hg_fetch_next_header(&line, &name, &value))
        return true;
    if (hg_bytes_eq_nocase(name, HG_BYTES("transfer-encoding")) && count_codings(value) > 0)
        fetch->refusal = "a transfer coding that was not asked for";
    if (fetch->is_unpacked && hg_bytes_eq_nocase(name, HG_BYTES("content-encoding")))
        fetch->coding_count += count_codings(value);
    if (fetch->coding_count > 1)
        fetch->refusal = "more than one content coding";
    return fetch->refusal == NULL;
}

/* libcurl reads on until it has the whole answer, or is paused. */
void hg_fetch_pieces_watch(struct hg_fetch *fetch, curl_socket_t fd, int what)
{
    if (fetch == NULL || !fetch->is_fed || (what == CURL_POLL_REMOVE && fd != fetch->fd))
        return;
    fetch->fd = fd;
    fetch->is_reading = what == CURL_POLL_IN || what == CURL_POLL_INOUT;
    if (fetch->has_head && !fetch->is_reading)
        hg_fetch_note(fetch);
}

bool hg_fetch_pieces_is_answered(const struct hg_fetch *fetch)
{
    struct hg_fetch_response head;
    return fetch->is_fed && !fetch->is_reading && !fetch->is_receive_paused &&
           hg_fetch_has_head(fetch, &head);
}

/*
 * An answer that is no longer than what libcurl would hold is not paused: it comes up to its maximum, which nothing passes then.
 */
static bool is_paused_by(const struct hg_fetch *fetch)
{
    return !fetch->is_unpacked || fetch->body_max > UNPACKED_BYTES_MAX;
}

size_t hg_fetch_pieces_body(struct hg_fetch *fetch, struct hg_bytes bytes)
{
    if (fetch->is_too_big || bytes.len > fetch->body_max - fetch->received_bytes) {
        fetch->is_too_big = true;
        return CURL_WRITEFUNC_ERROR;
    }
    hg_fetch_note(fetch);
    if (fetch->body.len >= HG_FETCH_HELD_BYTES && is_paused_by(fetch)) {
        fetch->is_receive_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (hg_buf_append_bytes(&fetch->body, bytes) < 0) {
        fetch->is_out_of_memory = true;
        return CURL_WRITEFUNC_ERROR;
    }
    fetch->received_bytes += bytes.len;
    return bytes.len;
}

int hg_fetch_pieces_set_up(struct hg_fetch *fetch, const struct hg_fetch_options *options)
{
    CURL *easy = fetch->easy;

    fetch->moved = options->moved;
    fetch->is_fed = options->is_fed;
    fetch->is_unpacked = options->accept_compressed;
    if (is_paused_by(fetch))
        fetch->body.max_bytes = HG_FETCH_HELD_BYTES + WRITE_BYTES;
    hg_buf_init(&fetch->fed, HG_FETCH_HELD_BYTES);
    if (options->accept_compressed)
        hg_curl->easy_setopt(easy, CURLOPT_BUFFERSIZE, PACKED_BYTES);
    if (!options->is_fed)
        return HG_OK;
    hg_curl->easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    hg_curl->easy_setopt(easy, CURLOPT_READFUNCTION, on_curl_feed);
    hg_curl->easy_setopt(easy, CURLOPT_READDATA, fetch);
    hg_curl->easy_setopt(easy, CURLOPT_INFILESIZE_LARGE,
                         options->fed_bytes == HG_FETCH_LENGTH_UNKNOWN
                             ? (curl_off_t)-1
                             : (curl_off_t)options->fed_bytes);
    /* What was given is gone, so it cannot be sent again where a kept connection turns out to be dead. */
    hg_curl->easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    return HG_OK;
}

bool hg_fetch_has_head(const struct hg_fetch *fetch, struct hg_fetch_response *out_head)
{
    long status = 0;
    if (!fetch->has_head || fetch->easy == NULL)
        return false;
    hg_curl->easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200) /* 100 Continue and its like */
        return false;
    *out_head = (struct hg_fetch_response){
        .status = (int)status, .headers = hg_buf_bytes(&fetch->headers), .err_text = "ok"};
    return true;
}

struct hg_bytes hg_fetch_bytes(const struct hg_fetch *fetch)
{
    return hg_buf_bytes(&fetch->body);
}

/* Goes on with what is no longer paused. */
static void go_on(struct hg_fetch *fetch)
{
    int paused = (fetch->is_receive_paused ? CURLPAUSE_RECV : 0) |
                 (fetch->is_send_paused ? CURLPAUSE_SEND : 0);
    if (fetch->easy == NULL || hg_curl->easy_pause(fetch->easy, paused) == CURLE_OK)
        return;
    /* A callback of ours refused, and libcurl tells nobody else. */
    hg_fetch_cancel(fetch, fetch->is_too_big         ? HG_ETOOBIG
                           : fetch->is_out_of_memory ? HG_ENOMEM
                                                     : HG_EPEER);
}

void hg_fetch_take(struct hg_fetch *fetch, size_t count)
{
    hg_buf_consume(&fetch->body, count);
    if (!fetch->is_receive_paused || fetch->body.len >= HG_FETCH_HELD_BYTES / 2)
        return;
    fetch->is_receive_paused = false;
    go_on(fetch);
}

ssize_t hg_fetch_feed(struct hg_fetch *fetch, struct hg_bytes bytes)
{
    size_t room = fetch->fed.max_bytes - fetch->fed.len;
    size_t len = bytes.len < room ? bytes.len : room;

    if (len == 0)
        return 0;
    int err = hg_buf_append(&fetch->fed, bytes.data, len);
    if (err < 0)
        return err;
    if (fetch->is_send_paused) {
        fetch->is_send_paused = false;
        go_on(fetch);
    }
    return (ssize_t)len;
}

bool hg_fetch_has_room(const struct hg_fetch *fetch)
{
    return fetch->fed.len < fetch->fed.max_bytes;
}

void hg_fetch_feed_end(struct hg_fetch *fetch)
{
    fetch->has_fed_all = true;
    if (fetch->is_send_paused) {
        fetch->is_send_paused = false;
        go_on(fetch);
    }
}
