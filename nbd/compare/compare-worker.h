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
typedef int (*bm_compare_worker_tick)(void *opaque, uint64_t bytes);

struct bm_compare_worker;
struct bm_compare_worker *
bm_compare_worker_new(struct bm_device *a, struct bm_device *b, unsigned queue,
                      const struct bm_compare_how *how, struct bm_error *err);
void bm_compare_worker_free(
    struct bm_compare_worker *worker); /* accepts NULL */

/* To look at them before bm_compare_worker_run. */
struct bm_compare_extents *
bm_compare_worker_sides(struct bm_compare_worker *worker);
/* Fills the range, which must lie in what was looked at last. */
int bm_compare_worker_run(struct bm_compare_worker *worker,
                          struct bm_compare_range *range,
                          bm_compare_worker_tick tick, void *opaque,
                          struct bm_error *err);

#endif
