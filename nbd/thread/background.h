// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Work that yields to everybody else on the host: beside a live guest that is
 * worth more than any limit of the rate.
 */
#ifndef BM_NBD_THREAD_BACKGROUND_H
#define BM_NBD_THREAD_BACKGROUND_H

#include "nbd/base/error.h"

#include <stdbool.h>

struct bm_background {
    int (*work)(void *opaque);
    /* About every 200 ms in the caller's thread while the work runs. Non-zero
     * leaves the work behind: it may hang in a call that never returns. */
    int (*look)(void *opaque, struct bm_error *err);
    void *opaque;
    bool idle; /* only while no other thread of the host wants the CPU */
};

/*
 * Runs work in a thread of the lowest CPU and I/O priority, as will be the
 * threads and processes that it starts, and returns what it returns. (An
 * unprivileged thread could not get its own priority back.) -EAGAIN: no thread
 * to be had. When look gave up: what look returned; then `opaque`, and all that
 * the work uses, is lost to the caller and must stay as it is.
 */
int bm_background_run(const struct bm_background *how, struct bm_error *err);

/* The same in two halves, between which the caller does other things. Started,
 * it must be finished. */
struct bm_background_task;
int bm_background_start(const struct bm_background *how,
                        struct bm_background_task **out, struct bm_error *err);
int bm_background_finish(struct bm_background_task *task, struct bm_error *err);

/* Whether any work was left behind: the process should just end, and free
 * nothing. Any thread. */
bool bm_background_left(void);

#endif
