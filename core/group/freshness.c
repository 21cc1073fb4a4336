#include "group/freshness.h"

#include "base/bug.h"

uint64_t hg_life_jittered(uint64_t ttl_ms, double jitter, uint64_t random)
{
    if (ttl_ms == 0 || ttl_ms == HG_FOREVER || !(jitter > 0))
        return ttl_ms;
    if (jitter > 1)
        jitter = 1;

    double share = (double)(random >> 11) * 0x1p-53; /* uniform in [0, 1) */
    uint64_t cut = (uint64_t)((double)ttl_ms * jitter * share);
    return cut >= ttl_ms ? 1 : ttl_ms - cut;
}

uint64_t hg_error_life(uint64_t ttl_ms, uint64_t max_ms, uint64_t last_ms, uint64_t random)
{
    if (ttl_ms == 0 || last_ms == 0 || max_ms <= ttl_ms)
        return ttl_ms;

    bool is_capped = last_ms > max_ms / 3 && !hg_bug(HG_BUG_ERROR_UNBOUNDED);
    uint64_t most_ms = is_capped ? max_ms : last_ms * 3;
    uint64_t least_ms = last_ms < most_ms / 2 ? last_ms : most_ms / 2;
    if (least_ms < ttl_ms)
        least_ms = ttl_ms;
    if (most_ms <= least_ms)
        return least_ms;
    double share = (double)(most_ms - least_ms) / (double)most_ms;
    uint64_t life_ms = hg_life_jittered(most_ms, share, random);
    return life_ms < least_ms ? least_ms : life_ms; /* the share is rounded */
}

bool hg_is_within(uint64_t expires_ms, uint64_t window_ms, uint64_t now_ms)
{
    return now_ms < hg_time_add(expires_ms, window_ms) || hg_bug(HG_BUG_STALE_FOREVER);
}

bool hg_is_fresh(uint64_t until_ms, uint64_t now_ms)
{
    return now_ms < until_ms + hg_bug(HG_BUG_EXPIRY_OFF);
}

bool hg_is_retry_due(uint64_t until_ms, uint64_t failed_ms, uint64_t now_ms)
{
    uint64_t wait_ms = failed_ms > until_ms ? failed_ms - until_ms : 0;

    if (wait_ms < HG_RETRY_MIN_MS)
        wait_ms = HG_RETRY_MIN_MS;
    if (wait_ms > HG_RETRY_MAX_MS)
        wait_ms = HG_RETRY_MAX_MS;
    return now_ms >= hg_time_add(failed_ms, wait_ms);
}

bool hg_value_is_good_on_error(const struct hg_value *value, uint64_t until_ms, uint64_t now_ms)
{
    return hg_value_status(value) == HG_STATUS_VALUE &&
           hg_is_within(until_ms, hg_value_more(value).stale_if_error_ms, now_ms);
}

bool hg_value_is_good_on_timeout(const struct hg_value *value, uint64_t until_ms, uint64_t now_ms)
{
    struct hg_value_more more = hg_value_more(value);
    uint64_t window_ms = more.stale_while_revalidate_ms;

    if (window_ms < more.stale_if_error_ms)
        window_ms = more.stale_if_error_ms;
    return hg_value_status(value) == HG_STATUS_VALUE && hg_is_within(until_ms, window_ms, now_ms);
}

/* -ln(u) of a uniform u in (0, 1]. Own arithmetic, so that this floor needs no libm; off by less than 1e-4. */
static double exponential(uint64_t random)
{
    uint64_t bits = random == 0 ? 1 : random;
    int zeros = __builtin_clzll(bits);
    double mantissa = (double)(bits << zeros >> 11) * 0x1p-52; /* [1, 2) */
    double z = (mantissa - 1) / (mantissa + 1);
    double z2 = z * z;
    double ln_mantissa = 2 * z * (1 + z2 * (1.0 / 3 + z2 * (1.0 / 5 + z2 / 7)));
    double result = (zeros + 1) * 0.69314718055994531 - ln_mantissa;

    return result < 0 ? 0 : result;
}

bool hg_is_early(double beta, uint64_t load_time_x16, uint64_t expires_ms, uint64_t now_ms,
                 uint64_t random)
{
    if (!(beta > 0) || expires_ms == HG_FOREVER || now_ms >= expires_ms)
        return false;

    double ahead_ms = (double)load_time_x16 / 16 * beta * exponential(random);
    return ahead_ms >= (double)(expires_ms - now_ms);
}

struct windows {
    uint64_t swr_ms, sie_ms;
};

static struct windows windows_of(const struct hg_value *value, const struct hg_group_config *config,
                                 bool is_copy)
{
    struct windows windows = {config->stale_while_revalidate_ms, config->stale_if_error_ms};

    if ((is_copy && !hg_bug(HG_BUG_COPY_WINDOWS)) || hg_value_status(value) != HG_STATUS_VALUE)
        return (struct windows){0, 0};
    struct hg_value_more more = hg_value_more(value);
    if (more.has_swr)
        windows.swr_ms = more.stale_while_revalidate_ms;
    if (more.has_sie)
        windows.sie_ms = more.stale_if_error_ms;
    return windows;
}

static bool fill(struct hg_value *value, struct windows windows)
{
    if (hg_value_is_private(value) || hg_value_refs(value) != 1)
        return false;
    return hg_value_set_windows(value, windows.swr_ms, windows.sie_ms);
}

static struct hg_value *copy(const struct hg_value *value, struct windows windows)
{
    struct hg_bytes tags[HG_TAGS_MAX];
    struct hg_value_spec spec;

    hg_value_spec_from(value, &spec, tags);
    spec.stale_while_revalidate_ms = windows.swr_ms;
    spec.stale_if_error_ms = windows.sie_ms;
    return hg_value_create(&spec);
}

static struct hg_value *fill_or_copy(struct hg_value *value, struct windows windows)
{
    if (fill(value, windows))
        return value;

    struct hg_value *other = copy(value, windows);
    if (other != NULL)
        hg_value_unref(value);
    return other;
}

bool hg_value_fill_windows(struct hg_value *value, const struct hg_group_config *config,
                           bool is_copy)
{
    return fill(value, windows_of(value, config, is_copy));
}

struct hg_value *hg_value_copy_windows(const struct hg_value *value,
                                       const struct hg_group_config *config, bool is_copy)
{
    return copy(value, windows_of(value, config, is_copy));
}

struct hg_value *hg_value_with_windows(struct hg_value *value, const struct hg_group_config *config,
                                       bool is_copy)
{
    return fill_or_copy(value, windows_of(value, config, is_copy));
}

struct hg_value *hg_error_note_life(struct hg_value *error, uint64_t life_ms)
{
    return fill_or_copy(error, (struct windows){0, life_ms});
}

uint64_t hg_error_last_life(const struct hg_value *entry, uint64_t now_ms)
{
    if (entry == NULL || hg_value_status(entry) != HG_STATUS_ERROR)
        return 0;
    uint64_t life_ms = hg_value_more(entry).stale_if_error_ms;
    return hg_is_within(hg_value_expires_ms(entry), life_ms, now_ms) ? life_ms : 0;
}
