// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/compare/compare-ledger.h"

#include "nbd/base/cleanup.h"

#include <errno.h>
#include <string.h>

struct bm_compare_range *bm_compare_range_new_zero(uint64_t first,
                                                   uint64_t n_blocks)
{
    struct bm_compare_range *range = calloc(1, sizeof *range);

    if (range) {
        range->first = first;
        range->n_blocks = n_blocks;
    }
    return range;
}

struct bm_compare_range *bm_compare_range_new(uint64_t first, size_t n_blocks,
                                              size_t md_len)
{
    struct bm_compare_range *range = bm_compare_range_new_zero(first, n_blocks);
    bool enough;

    if (!range)
        return NULL;
    range->differ = calloc(n_blocks, sizeof *range->differ);
    enough = range->differ != NULL;
    for (int s = 0; enough && md_len && s < 2; s++) {
        range->mds[s] = malloc(n_blocks * md_len);
        enough = range->mds[s] != NULL;
    }
    if (!enough)
        bm_compare_range_free(BM_STEAL(range));
    return range;
}

void bm_compare_range_free(struct bm_compare_range *range)
{
    if (!range)
        return;
    free(range->differ);
    free(range->mds[0]);
    free(range->mds[1]);
    free(range);
}

static void free_span(struct bm_compare_range **range)
{
    bm_compare_range_free(*range);
}

int bm_ledger_start(struct bm_ledger *ledger, const uint64_t sizes[2],
                    bool digests, struct bm_compare_result *result,
                    struct bm_error *err)
{
    *ledger = (struct bm_ledger){.sizes = {sizes[0], sizes[1]},
                                 .size = sizes[sizes[1] > sizes[0]],
                                 .result = result};
    if (!digests)
        return 0;
    ledger->roots[0] = bm_root_new(bm_digest_sha256, err);
    return ledger->roots[0] ? 0 : -EIO;
}

void bm_ledger_clear(struct bm_ledger *ledger)
{
    while (ledger->early) {
        struct bm_compare_range *range = ledger->early;

        ledger->early = range->next;
        bm_compare_range_free(range);
    }
    bm_root_free(ledger->roots[0]);
    bm_root_free(ledger->roots[1]);
}

/* --- ranges ------------------------------------------------------------- */

/* Room for one more: the vector's capacity is the power of two that holds
 * what is in it. */
static int grow(struct bm_compare_result *result, struct bm_error *err)
{
    size_t n = result->n_ranges;
    struct bm_range *ranges;

    if (n & (n - 1))
        return 0;
    ranges = reallocarray(result->ranges, n ? 2 * n : 1, sizeof *ranges);
    if (!ranges)
        return bm_fail_errno(err, ENOMEM, "cannot list what differs");
    result->ranges = ranges;
    return 0;
}

static int add_range(struct bm_compare_result *result, uint64_t offset,
                     uint64_t length, struct bm_error *err)
{
    struct bm_range *last =
        result->n_ranges ? &result->ranges[result->n_ranges - 1] : NULL;
    int rc = 0;

    result->different += length;
    if (last && last->offset + last->length == offset) {
        last->length += length;
    } else if (result->n_ranges == BM_COMPARE_MAX) {
        result->truncated = true;
    } else {
        rc = grow(result, err);
        if (rc == 0) /* grow has made room: NOLINTNEXTLINE(*NullDereference) */
            result->ranges[result->n_ranges++] =
                (struct bm_range){offset, length};
    }
    return rc;
}

static int add_ranges(struct bm_ledger *ledger,
                      const struct bm_compare_range *range, bool *any,
                      struct bm_error *err)
{
    int rc = 0;

    *any = false;
    for (size_t i = 0; range->differ && rc == 0 && i < range->n_blocks; i++) {
        uint64_t offset = (range->first + i) * BM_COMPARE_BLOCK;
        uint64_t left = ledger->size - offset;

        if (!range->differ[i])
            continue;
        *any = true;
        rc = add_range(ledger->result, offset,
                       left < BM_COMPARE_BLOCK ? left : BM_COMPARE_BLOCK, err);
    }
    return rc;
}

/* --- digests ------------------------------------------------------------ */

static int no_digest(struct bm_error *err)
{
    return bm_fail(err, EIO, "cannot compute SHA-256");
}

/* How many blocks of the range a side has: fewer after its end. */
static uint64_t count_blocks(uint64_t size,
                             const struct bm_compare_range *range)
{
    uint64_t all = size / BM_COMPARE_BLOCK + (size % BM_COMPARE_BLOCK != 0);
    uint64_t left = all > range->first ? all - range->first : 0;

    return left < range->n_blocks ? left : range->n_blocks;
}

static int part_roots(struct bm_ledger *ledger, struct bm_error *err)
{
    ledger->roots[1] = bm_root_copy(ledger->roots[0], err);
    return ledger->roots[1] ? 0 : -EIO;
}

static int feed_roots(struct bm_ledger *ledger,
                      const struct bm_compare_range *range, bool differs,
                      struct bm_error *err)
{
    const uint64_t n[2] = {count_blocks(ledger->sizes[0], range),
                           count_blocks(ledger->sizes[1], range)};
    int rc = 0;

    if (!ledger->roots[1] && (differs || n[0] != n[1]))
        rc = part_roots(ledger, err);
    for (int s = 0; rc == 0 && s < 2 && ledger->roots[s]; s++) {
        rc = range->differ ? bm_root_add(ledger->roots[s], range->mds[s], n[s])
                           : bm_root_add_zero(ledger->roots[s], n[s]);
        if (rc != 0)
            no_digest(err);
    }
    return rc;
}

int bm_ledger_finish(struct bm_ledger *ledger, struct bm_error *err)
{
    struct bm_compare_result *result = ledger->result;
    int rc = 0;

    if (!ledger->roots[0])
        return 0;
    /* The lengths are hashed too, so equal blocks may still end apart. */
    if (!ledger->roots[1])
        rc = part_roots(ledger, err);
    if (rc != 0)
        return rc;
    if (bm_root_final(ledger->roots[0], ledger->sizes[0], result->root_a) ||
        bm_root_final(ledger->roots[1], ledger->sizes[1], result->root_b))
        return no_digest(err);
    return 0;
}

/* --- order -------------------------------------------------------------- */

static int settle(struct bm_ledger *ledger,
                  const struct bm_compare_range *range, struct bm_error *err)
{
    bool differs;
    int rc = add_ranges(ledger, range, &differs, err);

    if (rc == 0 && ledger->roots[0])
        rc = feed_roots(ledger, range, differs, err);
    ledger->result->data_read += range->data_read;
    ledger->settled += range->n_blocks;
    return rc;
}

/* Zeroes that follow zeroes become one: terabytes of them cost nothing. */
static void keep_early(struct bm_ledger *ledger, struct bm_compare_range *range)
{
    struct bm_compare_range **p = &ledger->early, *before = NULL;

    for (; *p && (*p)->first < range->first; p = &(*p)->next)
        before = *p;
    if (before && !before->differ && !range->differ &&
        before->first + before->n_blocks == range->first) {
        before->n_blocks += range->n_blocks;
        bm_compare_range_free(range);
        return;
    }
    range->next = *p;
    *p = range;
    if (range->differ)
        ledger->held++;
}

/* The early range that comes next, taken off the list; NULL: none. */
static struct bm_compare_range *take_next(struct bm_ledger *ledger)
{
    struct bm_compare_range *range = ledger->early;

    if (!range || range->first != ledger->settled)
        return NULL;
    ledger->early = range->next;
    if (range->differ)
        ledger->held--;
    return range;
}

int bm_ledger_add(struct bm_ledger *ledger, struct bm_compare_range *range,
                  struct bm_error *err)
{
    int rc = 0;

    keep_early(ledger, range);
    while (rc == 0) {
        __attribute__((cleanup(free_span))) struct bm_compare_range *next =
            take_next(ledger);

        if (!next)
            break;
        rc = settle(ledger, next, err);
    }
    return rc;
}
