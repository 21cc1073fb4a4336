#include "cache/sketch.h"

#include <string.h>

#include "base/alloc.h"

#define ROWS      4
#define WORDS_MIN 16
#define PERIOD    10 /* additions for each entry */

void hg_sketch_finish(struct hg_sketch *sketch)
{
    hg_free(sketch->words);
    *sketch = (struct hg_sketch){0};
}

/* Twice as large: each word is there twice then, so that a key finds its counters at either of its new places. */
static int sketch_double(struct hg_sketch *sketch)
{
    size_t word_count = sketch->word_count == 0 ? WORDS_MIN : sketch->word_count * 2, bytes;
    if (!hg_size_mul(word_count, sizeof(uint64_t), &bytes))
        return -1;
    uint64_t *words = hg_realloc(sketch->words, bytes);
    if (words == NULL)
        return -1;
    if (sketch->word_count == 0)
        memset(words, 0, bytes);
    else
        memcpy(words + sketch->word_count, words, bytes / 2);
    sketch->words = words;
    sketch->word_count = word_count;
    return 0;
}

void hg_sketch_fit(struct hg_sketch *sketch, size_t entry_count)
{
    while (sketch->word_count < entry_count && sketch_double(sketch) == 0)
        ;
}

/* Each row takes other bits of the hash, mixed by an odd multiplier of its own. */
static uint64_t mix(uint64_t hash, int row)
{
    static const uint64_t odd[ROWS] = {0xc3a5c85c97cb3127u, 0xb492b66fbe98f273u,
                                       0x9ae16a3b2f90404fu, 0xcbf29ce484222325u};
    uint64_t z = (hash + odd[row]) * odd[row];
    return z ^ z >> 32;
}

/* The row's counter of a key: a word, and where in it. */
static size_t place(const struct hg_sketch *sketch, uint64_t hash, int row, unsigned *out_shift)
{
    uint64_t mixed = mix(hash, row);
    *out_shift = (unsigned)(row * 4 + (int)(mixed >> 62)) * 4;
    return (size_t)mixed & (sketch->word_count - 1);
}

void hg_sketch_add(struct hg_sketch *sketch, uint64_t hash, size_t entry_count)
{
    if (sketch->word_count == 0)
        return;
    for (int row = 0; row < ROWS; row++) {
        unsigned shift;
        uint64_t *word = &sketch->words[place(sketch, hash, row, &shift)];
        if ((*word >> shift & HG_SKETCH_MAX) < HG_SKETCH_MAX)
            *word += (uint64_t)1 << shift;
    }
    if (entry_count < WORDS_MIN)
        entry_count = WORDS_MIN;
    if (++sketch->additions < PERIOD * entry_count)
        return;
    for (size_t i = 0; i < sketch->word_count; i++)
        sketch->words[i] = sketch->words[i] >> 1 & 0x7777777777777777u;
    sketch->additions /= 2;
}

unsigned hg_sketch_estimate(const struct hg_sketch *sketch, uint64_t hash)
{
    unsigned least = HG_SKETCH_MAX;
    if (sketch->word_count == 0)
        return 0;
    for (int row = 0; row < ROWS; row++) {
        unsigned shift;
        const uint64_t *word = &sketch->words[place(sketch, hash, row, &shift)];
        unsigned count = (unsigned)(*word >> shift & HG_SKETCH_MAX);
        least = count < least ? count : least;
    }
    return least;
}
