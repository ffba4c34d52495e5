// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/compare/compare-extents.h"

#include <string.h>

#define BLOCK BM_COMPARE_BLOCK
#define RUNS 512 /* extents fetched at a time */

size_t bm_side_len(const struct bm_side *side, uint64_t block)
{
    uint64_t offset = block * BLOCK;

    if (offset >= side->size)
        return 0;
    return side->size - offset < BLOCK ? (size_t)(side->size - offset) : BLOCK;
}

uint64_t bm_sides_common(const struct bm_sides *sides)
{
    uint64_t a = sides->side[0].size, b = sides->side[1].size;

    return a < b ? a : b;
}

/* A block is zero only if all of it is. */
static void mark(struct bm_side *side, uint64_t base,
                 const struct bm_extent *run)
{
    size_t from = (size_t)((run->offset - base) / BLOCK);
    size_t to =
        (size_t)((run->offset + run->length - base + BLOCK - 1) / BLOCK);

    if (!run->zero)
        memset(side->data + from, true, (to - from) * sizeof *side->data);
}

static int look_at(const struct bm_sides *sides, struct bm_side *side,
                   uint64_t end, struct bm_error *err)
{
    uint64_t base = sides->base * BLOCK, offset = base;
    struct bm_extent runs[RUNS];
    size_t n;
    int rc = 0;

    memset(side->data, false, sides->known * sizeof *side->data);
    while (rc == 0 && offset < end) {
        rc = bm_device_extents(side->queue.dev, side->queue.number, BM_MAP_ZERO,
                               offset, end - offset, runs, RUNS, &n, err);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            mark(side, base, &runs[i]);
            offset = runs[i].offset + runs[i].length;
        }
    }
    return rc;
}

/* Where reads end. What only one side has differs, whatever is in it; unless
 * its zeroes are as good as nothing, or it must be hashed. */
static uint64_t read_end(const struct bm_sides *sides,
                         const struct bm_side *side)
{
    uint64_t end = (sides->base + sides->known) * BLOCK, size = side->size;

    if (!sides->digests && !sides->zero_tail)
        size = bm_sides_common(sides);
    return end < size ? end : size;
}

int bm_sides_look(struct bm_sides *sides, uint64_t first, size_t n,
                  struct bm_error *err)
{
    int rc = 0;

    sides->base = first;
    sides->known = n;
    for (int s = 0; rc == 0 && s < 2; s++) {
        struct bm_side *side = &sides->side[s];

        rc = look_at(sides, side, read_end(sides, side), err);
    }
    return rc;
}

/* The blocks before the first that some side has in part, or only one side
 * has where that makes a difference. */
static size_t count_whole(const struct bm_sides *sides)
{
    size_t n = sides->known;

    for (int s = 0; s < 2; s++) {
        uint64_t size = sides->side[s].size, end = size / BLOCK;
        bool ended = sides->base >= end + (size % BLOCK != 0);

        if (ended && !sides->zero_tail)
            return 0;
        if (!ended && end - sides->base < n)
            n = (size_t)(end - sides->base);
    }
    return n;
}

size_t bm_sides_zeroes(const struct bm_sides *sides)
{
    size_t n = count_whole(sides);

    for (int s = 0; s < 2; s++) {
        const bool *data = sides->side[s].data;
        const bool *found = memchr(data, true, n);

        if (found)
            n = (size_t)(found - data);
    }
    return n;
}
