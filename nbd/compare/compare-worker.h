// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One worker of a compare: a queue of each of two devices, which are read side
 * by side, compared and, where that is wanted, hashed block by block.
 *
 * Threads: a pair belongs to one thread; several pairs of the same devices
 * run at once, each with its own queue.
 */
#ifndef BM_NBD_COMPARE_COMPARE_WORKER_H
#define BM_NBD_COMPARE_COMPARE_WORKER_H

#include "nbd/compare/compare-extents.h"

/* Told of bytes done; non-zero stops the work with ECANCELED. */
typedef int (*bm_pair_tick)(void *opaque, uint64_t bytes);

struct bm_pair;
struct bm_pair *bm_pair_new(struct bm_device *a, struct bm_device *b,
                            unsigned queue, const struct bm_compare_how *how,
                            struct bm_error *err);
void bm_pair_free(struct bm_pair *pair); /* accepts NULL */

/* To look at them before bm_pair_run. */
struct bm_sides *bm_pair_sides(struct bm_pair *pair);
/* Fills the span, which must lie in what was looked at last. */
int bm_pair_run(struct bm_pair *pair, struct bm_span *span, bm_pair_tick tick,
                void *opaque, struct bm_error *err);

#endif
