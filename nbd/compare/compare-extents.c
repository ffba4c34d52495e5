// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/compare/compare-extents.h"

#include <string.h>

#define BLOCK BM_COMPARE_BLOCK
#define RUNS 512 /* extents fetched at a time */

size_t bm_compare_input_len(const struct bm_compare_input *side, uint64_t block)
{
    uint64_t offset = block * BLOCK;

    if (offset >= side->size)
        return 0;
    return side->size - offset < BLOCK ? (size_t)(side->size - offset) : BLOCK;
}

uint64_t bm_compare_extents_common(const struct bm_compare_extents *extents)
{
    uint64_t a = extents->side[0].size, b = extents->side[1].size;

    return a < b ? a : b;
}

/* A block is zero only if all of it is. */
static void mark(struct bm_compare_input *side, uint64_t base,
                 const struct bm_extent *run)
{
    size_t from = (size_t)((run->offset - base) / BLOCK);
    size_t to =
        (size_t)((run->offset + run->length - base + BLOCK - 1) / BLOCK);

    if (!run->zero)
        memset(side->data + from, true, (to - from) * sizeof *side->data);
}

static int look_at(const struct bm_compare_extents *extents,
                   struct bm_compare_input *side, uint64_t end,
                   struct bm_error *err)
{
    uint64_t base = extents->base * BLOCK, offset = base;
    struct bm_extent runs[RUNS];
    size_t n;
    int rc = 0;

    memset(side->data, false, extents->known * sizeof *side->data);
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
static uint64_t read_end(const struct bm_compare_extents *extents,
                         const struct bm_compare_input *side)
{
    uint64_t end = (extents->base + extents->known) * BLOCK, size = side->size;

    if (!extents->digests && !extents->zero_tail)
        size = bm_compare_extents_common(extents);
    return end < size ? end : size;
}

int bm_compare_extents_look(struct bm_compare_extents *extents, uint64_t first,
                            size_t n, struct bm_error *err)
{
    int rc = 0;

    extents->base = first;
    extents->known = n;
    for (int s = 0; rc == 0 && s < 2; s++) {
        struct bm_compare_input *side = &extents->side[s];

        rc = look_at(extents, side, read_end(extents, side), err);
    }
    return rc;
}

/* The blocks before the first that some side has in part, or only one side
 * has where that makes a difference. */
static size_t count_whole(const struct bm_compare_extents *extents)
{
    size_t n = extents->known;

    for (int s = 0; s < 2; s++) {
        uint64_t size = extents->side[s].size, end = size / BLOCK;
        bool ended = extents->base >= end + (size % BLOCK != 0);

        if (ended && !extents->zero_tail)
            return 0;
        if (!ended && end - extents->base < n)
            n = (size_t)(end - extents->base);
    }
    return n;
}

size_t bm_compare_extents_zeroes(const struct bm_compare_extents *extents)
{
    size_t n = count_whole(extents);

    for (int s = 0; s < 2; s++) {
        const bool *data = extents->side[s].data;
        const bool *found = memchr(data, 1, n);

        if (found)
            n = (size_t)(found - data);
    }
    return n;
}
