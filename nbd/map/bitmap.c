// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/map/bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Words of 64 bits; above them a bit a word that is not zero, and above that
 * again one: a search over 2^30 clear bits looks at 2^12 words at most. */
#define LEVELS 3

struct bm_bitmap {
    uint64_t size;  /* bytes of the device */
    uint32_t block; /* bytes a bit */
    unsigned shift;
    uint64_t n; /* bits */
    uint64_t *levels[LEVELS];
    uint64_t n_words[LEVELS];
};

struct bm_bitmap *bm_bitmap_new(uint64_t size, uint32_t block)
{
    struct bm_bitmap *map = calloc(1, sizeof *map);
    uint64_t bits;

    if (!map)
        return NULL;
    map->size = size;
    map->block = block;
    map->shift = (unsigned)__builtin_ctz(block);
    map->n = bits = (size >> map->shift) + (size % block != 0);
    for (int i = 0; i < LEVELS; i++) {
        map->n_words[i] = bits = bits / 64 + 1;
        map->levels[i] = calloc(bits, sizeof(uint64_t));
        if (!map->levels[i]) {
            bm_bitmap_free(map);
            return NULL;
        }
    }
    return map;
}

void bm_bitmap_free(struct bm_bitmap *map)
{
    if (!map)
        return;
    for (int i = 0; i < LEVELS; i++)
        free(map->levels[i]);
    free(map);
}

uint64_t bm_bitmap_size(const struct bm_bitmap *map)
{
    return map->size;
}

uint32_t bm_bitmap_block(const struct bm_bitmap *map)
{
    return map->block;
}

/* --- words --- */

/* The bits of [from, to) within a word. */
static uint64_t mask(uint64_t from, uint64_t to)
{
    uint64_t high = to == 64 ? ~UINT64_C(0) : (UINT64_C(1) << to) - 1;

    return high & ~((UINT64_C(1) << from) - 1);
}

/* After word w of the lowest level has changed. */
static void update_above(struct bm_bitmap *map, uint64_t w)
{
    for (int i = 0; i + 1 < LEVELS; i++) {
        uint64_t *above = &map->levels[i + 1][w / 64];
        uint64_t bit = UINT64_C(1) << w % 64;
        uint64_t was = *above;

        *above = map->levels[i][w] ? was | bit : was & ~bit;
        if ((was == 0) == (*above == 0))
            return;
        w /= 64;
    }
}

static void change_word(struct bm_bitmap *map, uint64_t w, uint64_t bits,
                        bool set)
{
    uint64_t *word = &map->levels[0][w], was = *word;

    *word = set ? was | bits : was & ~bits;
    if ((was == 0) != (*word == 0))
        update_above(map, w);
}

/* Bits [from, to). */
static void change(struct bm_bitmap *map, uint64_t from, uint64_t to, bool set)
{
    while (from < to) {
        uint64_t w = from / 64, end = (w + 1) * 64 < to ? (w + 1) * 64 : to;

        change_word(map, w, mask(from % 64, end - w * 64), set);
        from = end;
    }
}

/* --- ranges of bytes --- */

static uint64_t clamp_end(const struct bm_bitmap *map, uint64_t offset,
                          uint64_t length)
{
    if (offset >= map->size)
        return offset;
    return length < map->size - offset ? offset + length : map->size;
}

void bm_bitmap_set(struct bm_bitmap *map, uint64_t offset, uint64_t length)
{
    uint64_t end = clamp_end(map, offset, length);

    if (end > offset)
        change(map, offset >> map->shift, ((end - 1) >> map->shift) + 1, true);
}

void bm_bitmap_clear(struct bm_bitmap *map, uint64_t offset, uint64_t length)
{
    uint64_t end = clamp_end(map, offset, length);
    uint64_t first = (offset >> map->shift) + (offset % map->block != 0);
    uint64_t last = end >= map->size ? map->n : end >> map->shift;

    if (end > offset)
        change(map, first, last, false);
}

bool bm_bitmap_get(const struct bm_bitmap *map, uint64_t offset)
{
    uint64_t bit = offset >> map->shift;

    return offset < map->size && (map->levels[0][bit / 64] >> bit % 64 & 1);
}

bool bm_bitmap_test_and_clear(struct bm_bitmap *map, uint64_t offset)
{
    uint64_t bit = offset >> map->shift;

    if (!bm_bitmap_get(map, offset))
        return false;
    change_word(map, bit / 64, UINT64_C(1) << bit % 64, false);
    return true;
}

/* --- searching --- */

/* The first set bit of a level at or after `from`; the level's end: none. */
static uint64_t find_set(const struct bm_bitmap *map, int level, uint64_t from)
{
    uint64_t w = from / 64, end = map->n_words[level] * 64, bits;

    if (from >= end)
        return end;
    bits = map->levels[level][w] & ~((UINT64_C(1) << from % 64) - 1);
    if (!bits && level + 1 < LEVELS) {
        w = find_set(map, level + 1, w + 1);
        if (w >= map->n_words[level])
            return end;
        bits = map->levels[level][w];
    }
    while (!bits && ++w < map->n_words[level])
        bits = map->levels[level][w];
    return bits ? w * 64 + (uint64_t)__builtin_ctzll(bits) : end;
}

static uint64_t find_clear(const struct bm_bitmap *map, uint64_t from,
                           uint64_t end)
{
    while (from < end) {
        uint64_t bits =
            ~map->levels[0][from / 64] & ~((UINT64_C(1) << from % 64) - 1);

        if (bits)
            return from / 64 * 64 + (uint64_t)__builtin_ctzll(bits);
        from = (from / 64 + 1) * 64;
    }
    return end;
}

bool bm_bitmap_next(const struct bm_bitmap *map, bool clear, uint64_t offset,
                    uint64_t end, uint64_t *run, uint64_t *length)
{
    uint64_t limit = end < map->size ? end : map->size, first, last, stop;

    if (offset >= limit)
        return false;
    last = ((limit - 1) >> map->shift) + 1;
    first = offset >> map->shift;
    first = clear ? find_clear(map, first, last) : find_set(map, 0, first);
    if (first >= last)
        return false;
    stop = clear ? find_set(map, 0, first) : find_clear(map, first, last);
    *run = first << map->shift > offset ? first << map->shift : offset;
    stop = stop >= last ? limit : stop << map->shift;
    *length = stop - *run;
    return true;
}

uint64_t bm_bitmap_count(const struct bm_bitmap *map)
{
    uint64_t end = map->n_words[0], bits = 0, tail;

    for (uint64_t w = find_set(map, 1, 0); w < end; w = find_set(map, 1, w + 1))
        bits += (uint64_t)__builtin_popcountll(map->levels[0][w]);
    tail = map->size % map->block;
    if (tail && bm_bitmap_get(map, map->size - 1))
        return ((bits - 1) << map->shift) + tail;
    return bits << map->shift;
}

/* --- whole bitmaps --- */

/* Sets, or clears, in one what the other has. */
static int change_by(struct bm_bitmap *map, const struct bm_bitmap *other,
                     bool set, struct bm_error *err)
{
    uint64_t end = other->n_words[0];

    if (map->size != other->size || map->block != other->block) {
        bm_fail(err, EINVAL, "cannot combine two bitmaps");
        return bm_cause(err, "they are of different sizes"), -EINVAL;
    }
    for (uint64_t w = find_set(other, 1, 0); w < end;
         w = find_set(other, 1, w + 1))
        change_word(map, w, other->levels[0][w], set);
    return 0;
}

int bm_bitmap_merge(struct bm_bitmap *into, const struct bm_bitmap *from,
                    struct bm_error *err)
{
    return change_by(into, from, true, err);
}

int bm_bitmap_subtract(struct bm_bitmap *from, const struct bm_bitmap *what,
                       struct bm_error *err)
{
    return change_by(from, what, false, err);
}

void bm_bitmap_invert(struct bm_bitmap *map)
{
    for (uint64_t w = 0; w * 64 < map->n; w++) {
        uint64_t end = map->n - w * 64 < 64 ? map->n - w * 64 : 64;
        uint64_t was = map->levels[0][w], all = mask(0, end);

        change_word(map, w, was, false);
        change_word(map, w, all & ~was, true);
    }
}
