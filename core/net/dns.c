#include "net/dns.h"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <assert.h>
#include <poll.h>
#include <stdatomic.h>
#include "base/alloc.h"
#include "base/buf.h"

#define ATTEMPT_MS 2000 /* for each server; twice as long the second time */
#define ATTEMPTS   2

static_assert(HG_DNS_NAME_MAX == 255, "hg_dns_resolve_host says so");

typedef void (*begin_fn)(struct hg_dns *dns);

enum locality { ELSEWHERE, LOCALHOST, BELOW_LOCALHOST };

/* One look-up. What belongs to it closes before it is freed. */
struct hg_dns {
    struct hg_list link; /* loop->look_ups, until its waiters are told */
    struct hg_loop *loop;
    struct hg_dns_question question;
    begin_fn begin;
    struct hg_list waiters;
    ares_channel channel;   /* NULL: of LOCALHOST */
    struct hg_list watches; /* of the sockets that c-ares has open */
    uv_timer_t timer;
    unsigned open_count; /* handles */
    uint64_t until_ms;   /* by uv_hrtime */
    enum locality locality;
    bool is_known;   /* what follows is; the waiters are told by the timer, or are being told */
    bool is_ended;   /* out of the loop's list */
    int err, status; /* status: c-ares's */
    struct hg_buf found;
};

struct watch {
    uv_poll_t poll;
    struct hg_list link;
    struct hg_dns *dns;
    int fd;
};

static _Atomic uint64_t refused_count;

uint64_t hg_dns_refused(void)
{
    return atomic_load_explicit(&refused_count, memory_order_relaxed);
}

static int err_from_ares(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return HG_OK;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
        return HG_ENOENT;
    case ARES_ETIMEOUT:
    case ARES_ECANCELLED: /* by on_timer */
        return HG_ETIMEDOUT;
    case ARES_ENOMEM:
        return HG_ENOMEM;
    case ARES_EBADNAME:
        return HG_EINVAL;
    case ARES_EBADRESP:
        return HG_EPROTO;
    default:
        return HG_EPEER;
    }
}

static const char *text_of(int err, int status)
{
    if (err == HG_ETIMEDOUT)
        return "no DNS server answered in time";
    if (err == HG_ENOMEM || err == HG_ETOOBIG)
        return hg_err_text(err);
    /* c-ares has one code for both where it asked several. */
    if (status == ARES_ECONNREFUSED)
        return "no DNS server could be reached, or none that could be has an answer";
    return ares_strerror(status);
}

/* What c-ares found ---------------------------------------------------------------------------------------------------- */

/* The first that is known stays. False: something was. */
static bool know(struct hg_dns *dns, int err, int status)
{
    if (dns->is_known)
        return false;
    dns->is_known = true;
    dns->err = err;
    dns->status = status;
    return true;
}

static void on_answer(void *ctx, int status, int timeouts, unsigned char *data, int len)
{
    struct hg_dns *dns = ctx;
    (void)timeouts;

    if (know(dns, err_from_ares(status), status) && dns->err == HG_OK)
        dns->err = hg_buf_append(&dns->found, data, (size_t)len);
}

static void begin_records(struct hg_dns *dns)
{
    const struct hg_dns_question *question = &dns->question;

    if (question->searches)
        ares_search(dns->channel, question->name, ns_c_in, (int)question->type, on_answer, dns);
    else
        ares_query(dns->channel, question->name, ns_c_in, (int)question->type, on_answer, dns);
}

static int add_address(struct hg_buf *buf, const struct sockaddr *address)
{
    char text[INET6_ADDRSTRLEN];
    const void *bytes = address->sa_family == AF_INET6
                            ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
                            : (const void *)&((const struct sockaddr_in *)address)->sin_addr;

    inet_ntop(address->sa_family, bytes, text, sizeof(text));
    return hg_buf_append(buf, text, strlen(text) + 1);
}

static void on_addresses(void *ctx, int status, int timeouts, struct ares_addrinfo *found)
{
    struct hg_dns *dns = ctx;
    (void)timeouts;

    bool is_first = know(dns, err_from_ares(status), status);
    if (found == NULL)
        return;
    for (const struct ares_addrinfo_node *it = found->nodes;
         is_first && it != NULL && dns->err == HG_OK; it = it->ai_next)
        dns->err = add_address(&dns->found, it->ai_addr);
    if (is_first && dns->err == HG_OK && dns->found.len == 0)
        dns->err = HG_ENOENT;
    ares_freeaddrinfo(found);
}

static void begin_addresses(struct hg_dns *dns)
{
    enum hg_dns_type type = dns->question.type;
    struct ares_addrinfo_hints hints = {
        .ai_flags = type == HG_DNS_ADDRESS ? 0 : ARES_AI_NOSORT,
        .ai_family = type == HG_DNS_ADDRESS ? AF_UNSPEC
                     : type == HG_DNS_AAAA  ? AF_INET6
                                            : AF_INET,
    };
    ares_getaddrinfo(dns->channel, dns->question.name, NULL, &hints, on_addresses, dns);
}

/* Whether it is "localhost", or ends with ".localhost"; with a dot behind it or not. */
static enum locality locality_of(const char *name)
{
    static const char localhost[] = "localhost";
    const size_t local_len = sizeof(localhost) - 1;
    size_t len = strlen(name);

    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len < local_len || strncasecmp(name + len - local_len, localhost, local_len) != 0)
        return ELSEWHERE;
    if (len == local_len)
        return LOCALHOST;
    return name[len - local_len - 1] == '.' ? BELOW_LOCALHOST : ELSEWHERE;
}

/* RFC 6761 6.3: this machine, also where nothing resolves names. */
static void add_loopback(struct hg_dns *dns)
{
    static const char ip4[] = "127.0.0.1", ip6[] = "::1";

    dns->err = HG_OK;
    if (dns->question.type != HG_DNS_AAAA)
        dns->err = hg_buf_append(&dns->found, ip4, sizeof(ip4));
    if (dns->question.type != HG_DNS_A && dns->err == HG_OK)
        dns->err = hg_buf_append(&dns->found, ip6, sizeof(ip6));
}

/* Its life --------------------------------------------------------------------------------------------------------------- */

static void on_closed(struct hg_dns *dns)
{
    if (--dns->open_count > 0)
        return;
    hg_buf_finish(&dns->found);
    hg_free(dns);
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_closed(hg_container_of((uv_timer_t *)handle, struct hg_dns, timer));
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = hg_container_of((uv_poll_t *)handle, struct watch, poll);
    struct hg_dns *dns = watch->dns;

    hg_free(watch);
    on_closed(dns);
}

/* Nobody is told any more. */
static void end(struct hg_dns *dns)
{
    dns->is_known = dns->is_ended = true;
    hg_list_remove(&dns->link);
    dns->loop->look_up_count--;
    ares_destroy(dns->channel); /* and with its sockets go the watches */
    uv_close((uv_handle_t *)&dns->timer, on_timer_closed);
}

static void tell(struct hg_dns *dns)
{
    end(dns); /* who asks the same from here on wants to know it anew */
    if (dns->err < 0 && dns->err != HG_ENOMEM && dns->locality != ELSEWHERE)
        add_loopback(dns);
    const char *error = dns->err < 0 ? text_of(dns->err, dns->status) : NULL;
    struct hg_bytes found = dns->err < 0 ? HG_BYTES_NONE : hg_buf_bytes(&dns->found);
    for (struct hg_list *link; (link = hg_list_pop_front(&dns->waiters)) != NULL;) {
        struct hg_dns_waiter *waiter = hg_container_of(link, struct hg_dns_waiter, link);
        waiter->dns = NULL;
        waiter->told(waiter, dns->err, found, error);
    }
}

void hg_dns_cancel(struct hg_dns_waiter *waiter)
{
    struct hg_dns *dns = waiter->dns;

    if (dns == NULL)
        return;
    hg_list_remove(&waiter->link);
    waiter->dns = NULL;
    if (!dns->is_ended && hg_list_is_empty(&dns->waiters))
        end(dns);
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000; /* runs on while the clocks are held: servers do, too */
}

static void on_timer(uv_timer_t *timer);

/* The timer rings when c-ares wants to be called, or patience ends; at once where all is known. */
static void arm(struct hg_dns *dns)
{
    if (dns->is_known) {
        uv_timer_start(&dns->timer, on_timer, 0, 0);
        return;
    }
    uint64_t now = now_ms(), left = dns->until_ms > now ? dns->until_ms - now : 0;
    struct timeval most = {.tv_sec = (time_t)(left / 1000),
                           .tv_usec = (suseconds_t)(left % 1000 * 1000)};
    struct timeval next;

    uv_update_time(&dns->loop->uv); /* a script may have run for a while */
    const struct timeval *wait = ares_timeout(dns->channel, &most, &next);
    uint64_t wait_ms = (uint64_t)wait->tv_sec * 1000 + (uint64_t)wait->tv_usec / 1000 + 1;
    uv_timer_start(&dns->timer, on_timer, wait_ms, 0);
}

static void go_on(struct hg_dns *dns)
{
    if (dns->is_known)
        tell(dns);
    else
        arm(dns);
}

/* The loop may have stood still: what came in time counts, although its time is over by now. */
static void read_what_came(struct hg_dns *dns)
{
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    struct pollfd polled[ARES_GETSOCK_MAXNUM];
    /* The lower bits: to be read. c-ares's own macros shift into the sign. */
    unsigned wanted = (unsigned)ares_getsock(dns->channel, sockets, ARES_GETSOCK_MAXNUM);
    nfds_t count = 0;

    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++)
        if ((wanted >> i & 1) != 0)
            polled[count++] = (struct pollfd){.fd = sockets[i], .events = POLLIN};
    if (poll(polled, count, 0) <= 0)
        return;
    for (nfds_t i = 0; i < count; i++)
        if (polled[i].revents != 0)
            ares_process_fd(dns->channel, polled[i].fd, ARES_SOCKET_BAD);
}

static void on_timer(uv_timer_t *timer)
{
    struct hg_dns *dns = hg_container_of(timer, struct hg_dns, timer);

    if (!dns->is_known) {
        read_what_came(dns);
        ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* what took too long */
        if (now_ms() >= dns->until_ms)
            ares_cancel(dns->channel); /* it tells, and where one family's addresses came, those */
    }
    go_on(dns);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = hg_container_of(poll, struct watch, poll);
    struct hg_dns *dns = watch->dns;
    ares_socket_t fd = watch->fd; /* it may close meanwhile */
    bool is_broken = status < 0;
    bool can_read = is_broken || (events & UV_READABLE) != 0;
    bool can_write = is_broken || (events & UV_WRITABLE) != 0;

    ares_process_fd(dns->channel, can_read ? fd : ARES_SOCKET_BAD,
                    can_write ? fd : ARES_SOCKET_BAD);
    go_on(dns);
}

static struct watch *find_watch(struct hg_dns *dns, int fd)
{
    hg_list_for_each(it, &dns->watches)
    {
        struct watch *watch = hg_container_of(it, struct watch, link);
        if (watch->fd == fd)
            return watch;
    }
    return NULL;
}

static struct watch *add_watch(struct hg_dns *dns, int fd)
{
    struct watch *watch = hg_calloc(1, sizeof(*watch));

    if (watch == NULL || uv_poll_init(&dns->loop->uv, &watch->poll, fd) < 0) {
        know(dns, HG_ENOMEM, ARES_ENOMEM); /* libuv has nothing else to say of a socket */
        hg_free(watch);
        return NULL;
    }
    watch->dns = dns;
    watch->fd = fd;
    hg_list_push_back(&dns->watches, &watch->link);
    dns->open_count++;
    return watch;
}

/* c-ares wants to know this of a socket, or closes it. */
static void on_socket(void *ctx, ares_socket_t fd, int reads, int writes)
{
    struct hg_dns *dns = ctx;
    struct watch *watch = find_watch(dns, fd);

    if (reads || writes) {
        if (watch == NULL && !dns->is_ended)
            watch = add_watch(dns, fd);
        if (watch != NULL)
            uv_poll_start(&watch->poll, (reads ? UV_READABLE : 0) | (writes ? UV_WRITABLE : 0),
                          on_ready);
    } else if (watch != NULL) {
        hg_list_remove(&watch->link);
        uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
    }
}

static int open_channel(struct hg_dns *dns, const char **out_error)
{
    const struct hg_dns_question *question = &dns->question;
    bool is_named = question->server[0] != '\0';
    struct ares_options options = {
        .timeout = ATTEMPT_MS,
        .tries = ATTEMPTS,
        .sock_state_cb = on_socket,
        .sock_state_cb_data = dns,
        .lookups = dns->locality == ELSEWHERE ? "fb" : "f", /* whatever /etc/nsswitch.conf says */
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB |
               ARES_OPT_LOOKUPS;

    options.flags = ARES_FLAG_EDNS | (question->is_tcp ? ARES_FLAG_USEVC : 0);
    if (is_named)
        options.flags |= ARES_FLAG_NOCHECKRESP; /* SERVFAIL: there is no other one to be asked */
    int status = ares_init_options(&dns->channel, &options, mask);
    if (status != ARES_SUCCESS) {
        int err = err_from_ares(status);
        *out_error = text_of(err, status);
        return err;
    }
    if (!is_named || ares_set_servers_ports_csv(dns->channel, question->server) == ARES_SUCCESS)
        return HG_OK;
    ares_destroy(dns->channel);
    *out_error = "no address of a DNS server";
    return HG_EADDR;
}

static int create(struct hg_loop *loop, const struct hg_dns_question *question, begin_fn begin,
                  struct hg_dns **out_dns, const char **out_error)
{
    struct hg_dns *dns = hg_calloc(1, sizeof(*dns));
    if (dns == NULL) {
        *out_error = hg_err_text(HG_ENOMEM);
        return HG_ENOMEM;
    }
    dns->loop = loop;
    dns->question = *question;
    dns->begin = begin;
    dns->locality = begin == begin_addresses ? locality_of(question->name) : ELSEWHERE;
    hg_list_init(&dns->waiters);
    hg_list_init(&dns->watches);
    hg_buf_init(&dns->found, HG_DNS_ADDRESSES_BYTES);
    int err = dns->locality != LOCALHOST ? open_channel(dns, out_error) : HG_OK;
    if (err < 0) {
        hg_free(dns);
        return err;
    }
    uv_timer_init(&loop->uv, &dns->timer); /* cannot fail */
    dns->open_count = 1;
    dns->until_ms = now_ms() + HG_DNS_PATIENCE_MS;
    hg_list_push_back(&loop->look_ups, &dns->link);
    loop->look_up_count++;
    if (dns->channel != NULL)
        begin(dns);
    else
        know(dns, HG_ENOENT, ARES_ENOTFOUND); /* c-ares does, but leaks where /etc/hosts does not */
    arm(dns);
    *out_dns = dns;
    return HG_OK;
}

/* One of the same that is under way, or NULL. */
static struct hg_dns *find(struct hg_loop *loop, const struct hg_dns_question *question,
                           begin_fn begin)
{
    hg_list_for_each(it, &loop->look_ups)
    {
        struct hg_dns *dns = hg_container_of(it, struct hg_dns, link);
        const struct hg_dns_question *other = &dns->question;
        if (dns->begin == begin && other->type == question->type &&
            other->searches == question->searches && other->is_tcp == question->is_tcp &&
            strcmp(other->name, question->name) == 0 &&
            strcmp(other->server, question->server) == 0)
            return dns;
    }
    return NULL;
}

static int start(struct hg_loop *loop, const struct hg_dns_question *question, begin_fn begin,
                 struct hg_dns_waiter *waiter, hg_dns_fn told, const char **out_error)
{
    struct hg_dns *dns = find(loop, question, begin);

    if (dns == NULL && loop->look_up_count >= HG_DNS_LOOK_UPS_MAX) {
        atomic_fetch_add_explicit(&refused_count, 1, memory_order_relaxed);
        *out_error = "too many names are being looked up";
        return HG_ELIMIT;
    }
    if (dns == NULL) {
        int err = create(loop, question, begin, &dns, out_error);
        if (err < 0)
            return err;
    }
    waiter->dns = dns;
    waiter->told = told;
    hg_list_push_back(&dns->waiters, &waiter->link);
    return HG_PENDING;
}

int hg_dns_resolve(struct hg_loop *loop, const struct hg_dns_question *question,
                   struct hg_dns_waiter *waiter, hg_dns_fn told, const char **out_error)
{
    return start(loop, question, begin_addresses, waiter, told, out_error);
}

int hg_dns_resolve_host(struct hg_loop *loop, const char *host, struct hg_dns_waiter *waiter,
                        hg_dns_fn told, const char **out_error)
{
    struct hg_dns_question question = {.type = HG_DNS_ADDRESS};
    size_t len = strlen(host);

    if (len > HG_DNS_NAME_MAX) {
        *out_error = "a name has at most 255 bytes, this one has more";
        return HG_EINVAL;
    }
    memcpy(question.name, host, len + 1);
    return hg_dns_resolve(loop, &question, waiter, told, out_error);
}

int hg_dns_ask(struct hg_loop *loop, const struct hg_dns_question *question,
               struct hg_dns_waiter *waiter, hg_dns_fn told, const char **out_error)
{
    return start(loop, question, begin_records, waiter, told, out_error);
}
