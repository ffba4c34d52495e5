// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A worker pool: threads that do one work together. The first of them that
 * fails gives the worker pool its error and stops the others; the thread that
 * runs it waits, ticks, and may cancel.
 *
 * Threads: one runs the worker pool. While it does, its workers may share the
 * mutex and the condition for what is theirs.
 */
#ifndef BM_NBD_THREAD_WORKER_POOL_H
#define BM_NBD_THREAD_WORKER_POOL_H

#include "nbd/base/error.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define BM_WORKER_POOL_MAX 64u

struct bm_worker_pool {
    /* The owner sets these. work is called once in each thread, numbered from
     * 0. Non-zero: it has failed, as err says; without a code that is EIO. */
    int (*work)(void *opaque, unsigned number, struct bm_error *err);
    /* About every 200 ms in the thread that runs the worker pool, without the
     * mutex; or NULL. Non-zero cancels, as err says; without a code: ECANCELED.
     */
    int (*tick)(void *opaque, struct bm_error *err);
    void *opaque;

    /* Made and unmade by bm_worker_pool_run. While a worker holds the mutex the
     * worker pool cannot tick. Who waits for `changed` looks at
     * bm_worker_pool_stopped too: a stop wakes all. */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* broadcast only: it is for more than one thing */

    /* Private; guarded by the mutex. */
    atomic_bool stop; /* but may be read without it */
    unsigned active;  /* workers */
    struct bm_error error;
};

/* Runs n workers, or as many as can be started (BM_WORKER_POOL_MAX at most;
 * none is an error), until all have ended. 0, or the first error. */
int bm_worker_pool_run(struct bm_worker_pool *pool, unsigned n,
                       struct bm_error *err);

/* For workers: one has failed, or all is cancelled, so come to an end. */
static inline bool bm_worker_pool_stopped(const struct bm_worker_pool *pool)
{
    return atomic_load_explicit(&pool->stop, memory_order_relaxed);
}

#endif
