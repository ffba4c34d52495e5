// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Both sides of a compare, and where each of them has data.
 *
 * Threads: belongs to one thread, as the queues do.
 */
#ifndef BM_NBD_COMPARE_COMPARE_EXTENTS_H
#define BM_NBD_COMPARE_COMPARE_EXTENTS_H

#include "nbd/compare/compare-ledger.h"

/* How far a look reaches at most: 2 GiB, since devices of zeroes should take
 * few questions, and NBD's lengths have 32 bits. */
#define BM_LOOK_BLOCKS (16 * BM_COMPARE_RANGE_BLOCKS)

struct bm_compare_input {
    struct bm_queue queue;
    uint64_t size;
    bool data[BM_LOOK_BLOCKS]; /* of the blocks looked at: must be read */
};

struct bm_compare_extents {
    struct bm_compare_input side[2];
    bool zero_tail, digests; /* as of struct bm_compare_how */
    uint64_t base;           /* the first block that was looked at */
    size_t known;            /* how many were */
};

/* Asks both sides what they have in n blocks, up to BM_LOOK_BLOCKS. */
int bm_compare_extents_look(struct bm_compare_extents *extents, uint64_t first,
                            size_t n, struct bm_error *err);
/* How many of the blocks looked at are zero on both sides and no shorter than
 * others, until the first one that is not so. */
size_t bm_compare_extents_zeroes(const struct bm_compare_extents *extents);

/* Bytes of a block that this side has: fewer at its end. */
size_t bm_compare_input_len(const struct bm_compare_input *side,
                            uint64_t block);
/* Bytes that both sides have. */
uint64_t bm_compare_extents_common(const struct bm_compare_extents *extents);

#endif
