#include "cli/nearest.h"

#include <string.h>

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t hg_edit_distance(const char *a, const char *b)
{
    size_t rows[HG_NEAREST_MAX + 1][HG_NEAREST_MAX + 1];
    size_t a_len = strlen(a), b_len = strlen(b);
    for (size_t i = 0; i <= a_len; i++)
        rows[i][0] = i;
    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = min(best, min(rows[i - 1][j], rows[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = min(best, rows[i - 2][j - 2] + 1);
            rows[i][j] = best;
        }
    }
    return rows[a_len][b_len];
}

const char *hg_nearest(const char *word, const char *const *known, size_t known_count)
{
    size_t len = strlen(word);
    if (len > HG_NEAREST_MAX)
        return NULL;
    const char *nearest = NULL;
    size_t nearest_distance = 0;
    for (size_t i = 0; i < known_count; i++) {
        size_t known_len = strlen(known[i]);
        if (known_len > HG_NEAREST_MAX)
            continue;
        size_t longest = len > known_len ? len : known_len;
        size_t allowed = longest / 3 < 1 ? 1 : min(longest / 3, 3);
        size_t distance = hg_edit_distance(word, known[i]);
        if (distance <= allowed && (nearest == NULL || distance < nearest_distance)) {
            nearest = known[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}
