// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/compare/compare-ledger.h"

#include "nbd/base/cleanup.h"

#include <errno.h>
#include <string.h>

struct bm_span *bm_span_new_zero(uint64_t first, uint64_t n_blocks)
{
    struct bm_span *span = calloc(1, sizeof *span);

    if (span) {
        span->first = first;
        span->n_blocks = n_blocks;
    }
    return span;
}

struct bm_span *bm_span_new(uint64_t first, size_t n_blocks, size_t md_len)
{
    struct bm_span *span = bm_span_new_zero(first, n_blocks);
    bool enough;

    if (!span)
        return NULL;
    span->differ = calloc(n_blocks, sizeof *span->differ);
    enough = span->differ != NULL;
    for (int s = 0; enough && md_len && s < 2; s++) {
        span->mds[s] = malloc(n_blocks * md_len);
        enough = span->mds[s] != NULL;
    }
    if (!enough)
        bm_span_free(BM_STEAL(span));
    return span;
}

void bm_span_free(struct bm_span *span)
{
    if (!span)
        return;
    free(span->differ);
    free(span->mds[0]);
    free(span->mds[1]);
    free(span);
}

static void free_span(struct bm_span **span)
{
    bm_span_free(*span);
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
        struct bm_span *span = ledger->early;

        ledger->early = span->next;
        bm_span_free(span);
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
        if (rc == 0)
            result->ranges[result->n_ranges++] =
                (struct bm_range){offset, length};
    }
    return rc;
}

static int add_ranges(struct bm_ledger *ledger, const struct bm_span *span,
                      bool *any, struct bm_error *err)
{
    int rc = 0;

    *any = false;
    for (size_t i = 0; span->differ && rc == 0 && i < span->n_blocks; i++) {
        uint64_t offset = (span->first + i) * BM_COMPARE_BLOCK;
        uint64_t left = ledger->size - offset;

        if (!span->differ[i])
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

/* How many blocks of the span a side has: fewer after its end. */
static uint64_t count_blocks(uint64_t size, const struct bm_span *span)
{
    uint64_t all = size / BM_COMPARE_BLOCK + (size % BM_COMPARE_BLOCK != 0);
    uint64_t left = all > span->first ? all - span->first : 0;

    return left < span->n_blocks ? left : span->n_blocks;
}

static int part_roots(struct bm_ledger *ledger, struct bm_error *err)
{
    ledger->roots[1] = bm_root_copy(ledger->roots[0], err);
    return ledger->roots[1] ? 0 : -EIO;
}

static int feed_roots(struct bm_ledger *ledger, const struct bm_span *span,
                      bool differs, struct bm_error *err)
{
    const uint64_t n[2] = {count_blocks(ledger->sizes[0], span),
                           count_blocks(ledger->sizes[1], span)};
    int rc = 0;

    if (!ledger->roots[1] && (differs || n[0] != n[1]))
        rc = part_roots(ledger, err);
    for (int s = 0; rc == 0 && s < 2 && ledger->roots[s]; s++) {
        rc = span->differ ? bm_root_add(ledger->roots[s], span->mds[s], n[s])
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

static int settle(struct bm_ledger *ledger, const struct bm_span *span,
                  struct bm_error *err)
{
    bool differs;
    int rc = add_ranges(ledger, span, &differs, err);

    if (rc == 0 && ledger->roots[0])
        rc = feed_roots(ledger, span, differs, err);
    ledger->result->data_read += span->data_read;
    ledger->settled += span->n_blocks;
    return rc;
}

/* Zeroes that follow zeroes become one: terabytes of them cost nothing. */
static void keep_early(struct bm_ledger *ledger, struct bm_span *span)
{
    struct bm_span **p = &ledger->early, *before = NULL;

    for (; *p && (*p)->first < span->first; p = &(*p)->next)
        before = *p;
    if (before && !before->differ && !span->differ &&
        before->first + before->n_blocks == span->first) {
        before->n_blocks += span->n_blocks;
        bm_span_free(span);
        return;
    }
    span->next = *p;
    *p = span;
    if (span->differ)
        ledger->held++;
}

/* The early span that comes next, taken off the list; NULL: none. */
static struct bm_span *take_next(struct bm_ledger *ledger)
{
    struct bm_span *span = ledger->early;

    if (!span || span->first != ledger->settled)
        return NULL;
    ledger->early = span->next;
    if (span->differ)
        ledger->held--;
    return span;
}

int bm_ledger_add(struct bm_ledger *ledger, struct bm_span *span,
                  struct bm_error *err)
{
    int rc = 0;

    keep_early(ledger, span);
    while (rc == 0) {
        __attribute__((cleanup(free_span))) struct bm_span *next =
            take_next(ledger);

        if (!next)
            break;
        rc = settle(ledger, next, err);
    }
    return rc;
}
