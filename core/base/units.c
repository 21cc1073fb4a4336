#include "base/units.h"

#include "base/err.h"

#define FRACTION_DIGITS 18
#define FRACTION_ONE    1000000000000000000ull /* 10^FRACTION_DIGITS */

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"kB", 1000ull},
    {"KB", 1000ull},
    {"MB", 1000000ull},
    {"GB", 1000000000ull},
    {"TB", 1000000000000ull},
    {"KiB", 1ull << 10},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
};

static const struct unit duration_units[] = {
    {"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

/* "12.5s" in pieces: 12, 5 * 10^17 and "s". */
struct number {
    uint64_t whole;
    uint64_t fraction; /* of FRACTION_ONE, rounded up */
    bool has_point;
    struct hg_bytes rest;
};

static bool is_digit(struct hg_bytes text, size_t i)
{
    return i < text.len && text.data[i] >= '0' && text.data[i] <= '9';
}

static bool number_parse(struct hg_bytes text, struct number *out)
{
    size_t i = 0;
    unsigned long long whole;
    struct number number = {0};

    while (is_digit(text, i))
        i++;
    if (!hg_bytes_to_u64(hg_bytes(text.data, i), &whole))
        return false;
    number.whole = whole;

    if (i < text.len && text.data[i] == '.') {
        uint64_t place = FRACTION_ONE;
        bool has_rest = false;
        number.has_point = true;
        i++;
        if (!is_digit(text, i))
            return false;
        for (; is_digit(text, i); i++) {
            uint64_t digit = (uint64_t)(text.data[i] - '0');
            place /= 10;
            number.fraction += digit * place;
            has_rest = has_rest || (place == 0 && digit > 0);
        }
        if (has_rest)
            number.fraction++;
    }
    number.rest = hg_bytes(text.data + i, text.len - i);
    *out = number;
    return true;
}

static const struct unit *unit_find(const struct unit *units, size_t count, struct hg_bytes name)
{
    for (size_t i = 0; i < count; i++) {
        if (hg_bytes_eq(hg_bytes_str(units[i].name), name))
            return &units[i];
    }
    return NULL;
}

int hg_size_parse(struct hg_bytes text, uint64_t *out_bytes)
{
    struct number number;
    uint64_t bytes;
    if (!number_parse(text, &number) || number.has_point)
        return HG_EINVAL;
    const struct unit *unit = unit_find(size_units, HG_COUNT(size_units), number.rest);
    if (unit == NULL || __builtin_mul_overflow(number.whole, unit->factor, &bytes))
        return HG_EINVAL;
    *out_bytes = bytes;
    return HG_OK;
}

int hg_duration_parse(struct hg_bytes text, uint64_t *out_ms)
{
    struct number number;
    uint64_t ms;
    if (!number_parse(text, &number))
        return HG_EINVAL;
    const struct unit *unit = unit_find(duration_units, HG_COUNT(duration_units), number.rest);
    if (unit == NULL || __builtin_mul_overflow(number.whole, unit->factor, &ms))
        return HG_EINVAL;

    unsigned __int128 part = (unsigned __int128)number.fraction * unit->factor;
    uint64_t part_ms = (uint64_t)((part + FRACTION_ONE - 1) / FRACTION_ONE);
    if (__builtin_add_overflow(ms, part_ms, &ms) || ms == HG_FOREVER)
        return HG_EINVAL;
    *out_ms = ms;
    return HG_OK;
}

int hg_duration_from_seconds(double seconds, uint64_t *out_ms)
{
    double exact = seconds * 1000.0;
    if (!(seconds >= 0) || exact >= 18446744073709551615.0)
        return HG_EINVAL;
    /* 0.07 * 1000 is 70.00000000000001: that much is the multiplication, not the user's wish. */
    uint64_t ms = (uint64_t)exact;
    double above = exact - (double)ms;
    if (above > exact * 1e-12)
        ms++;
    if (ms == 0 && seconds > 0)
        ms = 1;
    *out_ms = ms;
    return HG_OK;
}
