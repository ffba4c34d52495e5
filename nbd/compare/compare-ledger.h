// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a compare has found, range by range, and the ledger that puts the ranges
 * in order: they end in any order, ranges and digests are wanted in theirs.
 *
 * Threads: a range belongs to one thread, the ledger to whoever holds its
 * owner's lock.
 */
#ifndef BM_NBD_COMPARE_COMPARE_LEDGER_H
#define BM_NBD_COMPARE_COMPARE_LEDGER_H

#include "nbd/compare/compare.h"

/* How much a worker takes at a time at most: as long as one extents request
 * is cheap, as short as workers end together. */
#define BM_COMPARE_RANGE_BLOCKS 2048u /* 128 MiB */

/* Some blocks that follow each other. */
struct bm_compare_range {
    uint64_t first, n_blocks; /* the number of the first one, how many */
    uint64_t data_read;       /* bytes */
    /* Of each block; NULL: all are zero on both sides, however many. */
    bool *differ;
    uint8_t *mds[2]; /* with digests: of the blocks that each side has */
    struct bm_compare_range *next;
};

/* With md_len 0 there are no mds. NULL: no memory. */
struct bm_compare_range *bm_compare_range_new(uint64_t first, size_t n_blocks,
                                              size_t md_len);
/* Holds nothing but zeroes, on both sides. */
struct bm_compare_range *bm_compare_range_new_zero(uint64_t first,
                                                   uint64_t n_blocks);
void bm_compare_range_free(struct bm_compare_range *range); /* accepts NULL */

struct bm_ledger {
    uint64_t sizes[2], size; /* bytes of each side; of the larger one */
    uint64_t settled;        /* blocks before this one are in the result */
    size_t held;             /* of early, those that are not zero */
    struct bm_compare_range *early; /* ascending: one before them is missing */
    struct bm_root *roots[2]; /* the second is NULL while it is the same */
    struct bm_compare_result *result;
};

int bm_ledger_start(struct bm_ledger *ledger, const uint64_t sizes[2],
                    bool digests, struct bm_compare_result *result,
                    struct bm_error *err);
/* Owns the range, also after an error. */
int bm_ledger_add(struct bm_ledger *ledger, struct bm_compare_range *range,
                  struct bm_error *err);
/* All ranges were added: writes the digests. */
int bm_ledger_finish(struct bm_ledger *ledger, struct bm_error *err);
/* Leaves the result to its owner. */
void bm_ledger_clear(struct bm_ledger *ledger);

#endif
