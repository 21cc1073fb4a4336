#include "net/peers.h"

#include <pthread.h>
#include <stdio.h>

#include "base/alloc.h"
#include "net/clock.h"
#include "net/log.h"
#include "net/peer_state.h"

#define NAME_MAX_BYTES 512
#define MANY_AGAIN_MS                                                                              \
    60000 /* a peer that knows no messages of many keys may be another program by then */

#define HTTP2_AGAIN_MS     60000 /* and one that spoke no HTTP/2 may do so; at the latest */
#define HTTP2_TRY_SLACK_MS 250   /* a try has the time of a connection and that of its SETTINGS */

enum speech {
    SPEAKS_UNKNOWN,
    SPEAKS_HTTP2,
    SPEAKS_HTTP1,
};

struct hg_peer {
    pthread_mutex_t lock; /* health, time */
    struct hg_health health;
    struct hg_histogram time;
    _Atomic uint64_t silence_number; /* written under the lock */
    _Atomic bool is_up;              /* health.is_up for readers without the lock */
    _Atomic bool is_destroyed;
    _Atomic unsigned refs;
    _Atomic uint64_t asks, asks_again, messages, many, many_keys, errors, probes;
    _Atomic uint64_t many_again_ms; /* until then it is asked key by key */
    _Atomic uint64_t http2_connections, http2_unprocessed, http2_refused;
    _Atomic int speech;              /* enum speech */
    _Atomic uint64_t http2_again_ms; /* auto: when to find out again */
    _Atomic uint64_t http2_wait_ms;  /* and then, where it does not */
    _Atomic bool is_tried;           /* somebody is at it */
    enum hg_transport transport;
    uint64_t timeout_ms;
    char *base_url;
    char name[];
};

static bool is_plain(struct hg_bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"<>\\^`{|}@?#", c) != NULL)
            return false;
    }
    return true;
}

int hg_peer_create(struct hg_bytes name, const struct hg_peers_config *config,
                   struct hg_peer **out_peer, char *error, size_t error_size)
{
    char shown[128];
    struct hg_bytes authority = name, scheme = HG_BYTES("http://");

    if (hg_bytes_has_prefix(name, scheme))
        authority = hg_bytes(name.data + scheme.len, name.len - scheme.len);
    while (authority.len > 0 && authority.data[authority.len - 1] == '/')
        authority.len--;
    if (authority.len == 0 || name.len > NAME_MAX_BYTES || !is_plain(authority) ||
        memchr(authority.data, '/', authority.len) != NULL) {
        bool is_tls = hg_bytes_has_prefix(name, HG_BYTES("https://"));
        snprintf(error, error_size, "bad peer \"%s\": expected http://host:port or host:port%s",
                 hg_bytes_escape(name, shown, sizeof(shown)),
                 is_tls ? ", there is no TLS between nodes" : "");
        return HG_EINVAL;
    }

    struct hg_peer *peer = hg_calloc(1, sizeof(*peer) + name.len + 1);
    char *base_url = hg_malloc(scheme.len + authority.len + 1);
    if (peer == NULL || base_url == NULL) {
        hg_free(peer);
        hg_free(base_url);
        snprintf(error, error_size, "out of memory");
        return HG_ENOMEM;
    }
    memcpy(peer->name, name.data, name.len);
    memcpy(base_url, scheme.data, scheme.len);
    memcpy(base_url + scheme.len, authority.data, authority.len);
    base_url[scheme.len + authority.len] = '\0';
    peer->base_url = base_url;
    peer->transport = config->transport;
    peer->timeout_ms = config->timeout_ms;
    pthread_mutex_init(&peer->lock, NULL);
    hg_health_init(&peer->health, config->timeout_ms, hg_clock_boot_ms());
    peer->is_up = true;
    peer->refs = 1;
    *out_peer = peer;
    return HG_OK;
}

struct hg_peer *hg_peer_ref(struct hg_peer *peer)
{
    atomic_fetch_add(&peer->refs, 1);
    return peer;
}

void hg_peer_unref(struct hg_peer *peer)
{
    if (atomic_fetch_sub(&peer->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&peer->lock);
    hg_free(peer->base_url);
    hg_free(peer);
}

void hg_peer_destroy(struct hg_peer *peer)
{
    if (peer == NULL)
        return;
    peer->is_destroyed = true;
    hg_peer_unref(peer);
}

bool hg_peer_is_destroyed(const struct hg_peer *peer)
{
    return peer->is_destroyed;
}

bool hg_peer_is_up(const struct hg_peer *peer)
{
    return peer->is_up;
}

const char *hg_peer_name(const struct hg_peer *peer)
{
    return peer->name;
}

const char *hg_peer_base_url(const struct hg_peer *peer)
{
    return peer->base_url;
}

static const char *transport_name(const struct hg_peer *peer)
{
    if (peer->transport != HG_TRANSPORT_AUTO)
        return peer->transport == HG_TRANSPORT_GRPC ? "grpc" : "http";
    int speech = peer->speech;
    return speech == SPEAKS_UNKNOWN ? "unknown" : speech == SPEAKS_HTTP2 ? "grpc" : "http";
}

void hg_peer_stats(const struct hg_peer *peer, struct hg_peer_stats *out_stats)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&peer->lock;
    pthread_mutex_lock(lock);
    *out_stats = (struct hg_peer_stats){
        .asks = peer->asks,
        .asks_again = peer->asks_again,
        .messages = peer->messages,
        .many = peer->many,
        .many_keys = peer->many_keys,
        .errors = peer->errors,
        .probes = peer->probes,
        .downs = peer->health.downs,
        .http2_connections = peer->http2_connections,
        .http2_unprocessed = peer->http2_unprocessed,
        .http2_refused = peer->http2_refused,
        .transport = transport_name(peer),
        .is_up = peer->health.is_up,
        .outstanding = peer->health.outstanding,
        .last_heard_ms = peer->health.heard_ms,
        .time = peer->time,
    };
    pthread_mutex_unlock(lock);
}

static void peer_lock(struct hg_peer *peer)
{
    pthread_mutex_lock(&peer->lock);
}

static void peer_unlock(struct hg_peer *peer)
{
    peer->is_up = peer->health.is_up;
    pthread_mutex_unlock(&peer->lock);
}

static void gone_down(struct hg_peer *peer, const char *why)
{
    peer->http2_again_ms = 0; /* whoever comes back may speak something else */
    peer->http2_wait_ms = peer->timeout_ms;
    peer->is_tried = false;
    hg_log(HG_LOG_WARN, "peer down name=%s err=\"%s\"", peer->name, why);
}

static void count(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

uint64_t hg_peer_asked(struct hg_peer *peer, size_t keys, size_t again, uint64_t now_ms)
{
    count(&peer->asks, keys - again);
    count(&peer->asks_again, again);
    count(&peer->messages, 1);
    if (keys > 1) {
        count(&peer->many, 1);
        count(&peer->many_keys, keys);
    }
    peer_lock(peer);
    hg_health_asked(&peer->health, now_ms);
    uint64_t number = peer->silence_number;
    peer_unlock(peer);
    return number;
}

void hg_peer_done(struct hg_peer *peer, uint64_t now_ms)
{
    peer_lock(peer);
    hg_health_done(&peer->health, now_ms);
    peer_unlock(peer);
}

void hg_peer_heard(struct hg_peer *peer, uint64_t now_ms)
{
    peer_lock(peer);
    bool is_back = hg_health_heard(&peer->health, now_ms);
    peer_unlock(peer);
    if (is_back)
        hg_log(HG_LOG_INFO, "peer up name=%s", peer->name);
}

uint64_t hg_peer_heard_ms(struct hg_peer *peer)
{
    peer_lock(peer);
    uint64_t heard_ms = peer->health.heard_ms;
    peer_unlock(peer);
    return heard_ms;
}

void hg_peer_failed(struct hg_peer *peer, uint64_t now_ms, const char *why)
{
    peer_lock(peer);
    bool is_change = hg_health_failed(&peer->health, now_ms);
    peer_unlock(peer);
    if (is_change)
        gone_down(peer, why);
}

void hg_peer_probe_failed(struct hg_peer *peer, uint64_t now_ms, const char *why)
{
    peer_lock(peer);
    bool is_change = hg_health_probe_failed(&peer->health, now_ms);
    if (is_change)
        peer->silence_number++;
    peer_unlock(peer);
    if (is_change)
        gone_down(peer, why);
}

void hg_peer_probe_forget(struct hg_peer *peer)
{
    peer_lock(peer);
    peer->health.is_probing = false;
    peer_unlock(peer);
}

void hg_peer_probe(struct hg_peer *peer, uint64_t now_ms)
{
    peer_lock(peer);
    hg_health_probe(&peer->health, now_ms);
    peer_unlock(peer);
    count(&peer->probes, 1);
}

enum hg_health_step hg_peer_tick(struct hg_peer *peer, uint64_t now_ms)
{
    peer_lock(peer);
    enum hg_health_step step = hg_health_tick(&peer->health, now_ms);
    if (step == HG_HEALTH_FAILED)
        peer->silence_number++;
    peer_unlock(peer);
    if (step == HG_HEALTH_FAILED)
        gone_down(peer, "silence");
    if (step == HG_HEALTH_PROBE)
        count(&peer->probes, 1);
    return step;
}

uint64_t hg_peer_silence_number(struct hg_peer *peer)
{
    return peer->silence_number;
}

void hg_peer_count_error(struct hg_peer *peer)
{
    count(&peer->errors, 1);
}

void hg_peer_took(struct hg_peer *peer, uint64_t took_ms)
{
    peer_lock(peer);
    hg_histogram_note(&peer->time, took_ms);
    peer_unlock(peer);
}

bool hg_peer_takes_many(const struct hg_peer *peer, uint64_t now_ms)
{
    return now_ms >= atomic_load_explicit(&peer->many_again_ms, memory_order_relaxed);
}

void hg_peer_refuses_many(struct hg_peer *peer, uint64_t now_ms)
{
    bool is_news = hg_peer_takes_many(peer, now_ms);
    atomic_store_explicit(&peer->many_again_ms, hg_time_add(now_ms, MANY_AGAIN_MS),
                          memory_order_relaxed);
    if (is_news)
        hg_log(HG_LOG_INFO, "peer asked key by key name=%s", peer->name);
}

bool hg_peer_is_http2(const struct hg_peer *peer)
{
    return peer->transport == HG_TRANSPORT_GRPC ||
           (peer->transport == HG_TRANSPORT_AUTO && peer->speech != SPEAKS_HTTP1);
}

bool hg_peer_try_http2(struct hg_peer *peer, uint64_t now_ms)
{
    uint64_t again_ms = peer->http2_again_ms;
    uint64_t settings_ms = hg_time_add(peer->timeout_ms, peer->timeout_ms);
    uint64_t try_ms = hg_time_add(settings_ms, HTTP2_TRY_SLACK_MS);
    if (peer->transport != HG_TRANSPORT_AUTO || peer->speech != SPEAKS_HTTP1 || !peer->is_up ||
        now_ms < again_ms ||
        !atomic_compare_exchange_strong(&peer->http2_again_ms, &again_ms,
                                        hg_time_add(now_ms, try_ms)))
        return false;
    peer->is_tried = true;
    return true;
}

/*
 * When it is to be tried again: soon, for it may only have been beginning or ending, and ever more rarely. What
 * loops find at the same time is one finding: only the first, and the outcome of a try, says when.
 */
static void found_no_http2(struct hg_peer *peer, uint64_t now_ms)
{
    if (peer->speech != SPEAKS_HTTP1)
        peer->http2_wait_ms = peer->timeout_ms;
    else if (!atomic_exchange(&peer->is_tried, false))
        return;
    uint64_t wait_ms = peer->http2_wait_ms;
    if (wait_ms > HTTP2_AGAIN_MS)
        wait_ms = HTTP2_AGAIN_MS;
    peer->http2_wait_ms = 2 * wait_ms;
    peer->http2_again_ms = hg_time_add(now_ms, wait_ms);
}

static void set_speech(struct hg_peer *peer, enum speech speech)
{
    if (atomic_exchange(&peer->speech, (int)speech) != (int)speech)
        hg_log(HG_LOG_INFO, "peer transport name=%s transport=%s", peer->name,
               speech == SPEAKS_HTTP2 ? "grpc" : "http");
}

void hg_peer_speaks_http2(struct hg_peer *peer)
{
    peer->is_tried = false;
    if (peer->transport == HG_TRANSPORT_AUTO)
        set_speech(peer, SPEAKS_HTTP2);
}

void hg_peer_found(struct hg_peer *peer, bool is_http2, uint64_t now_ms)
{
    if (is_http2) {
        count(&peer->http2_connections, 1);
        hg_peer_speaks_http2(peer);
    } else if (peer->transport == HG_TRANSPORT_AUTO) {
        found_no_http2(peer, now_ms);
        set_speech(peer, SPEAKS_HTTP1);
    }
}

void hg_peer_count_unprocessed(struct hg_peer *peer)
{
    count(&peer->http2_unprocessed, 1);
}

void hg_peer_count_refused(struct hg_peer *peer)
{
    count(&peer->http2_refused, 1);
}
