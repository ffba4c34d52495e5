// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One worker of a compare: a connection to each of two devices, which are
 * read side by side, compared and hashed block by block.
 *
 * Threads: a pair belongs to one thread; several pairs of the same devices
 * run at once, each with its own connection number.
 */
#ifndef BM_PAIR_H
#define BM_PAIR_H

#include "nbd/device.h"
#include "nbd/digest.h"

/* How much a worker takes at a time: as long as one extents request is
 * cheap, as short as workers end together. */
#define BM_SPAN_BLOCKS 2048u /* 128 MiB */

/* What was found in some blocks that follow each other. */
struct bm_span {
    uint64_t first;  /* number of the first block */
    size_t n_blocks; /* to BM_SPAN_BLOCKS */
    size_t n_mds[2]; /* blocks that each side has here: less after its end */
    uint64_t data_read;
    bool differ[BM_SPAN_BLOCKS];
    uint8_t mds[2][BM_SPAN_BLOCKS * BM_DIGEST_LEN];
    struct bm_span *next; /* for the owner */
};

/* Told of bytes done; non-zero stops the work with ECANCELED. */
typedef int (*bm_pair_tick)(void *opaque, uint64_t bytes);

struct bm_pair;
struct bm_pair *bm_pair_new(struct bm_device *a, struct bm_device *b,
                            unsigned connection, struct bm_error *err);
void bm_pair_free(struct bm_pair *pair); /* accepts NULL */

/* Fills the span, whose first and n_blocks are given. */
int bm_pair_run(struct bm_pair *pair, struct bm_span *span, bm_pair_tick tick,
                void *opaque, struct bm_error *err);

#endif
