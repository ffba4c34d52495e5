// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/thread/worker-pool.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>

#define TICK_MS 200

struct worker {
    struct bm_worker_pool *pool;
    unsigned number;
    pthread_t thread;
};

/* With the mutex held. The first error wins; others are mostly its
 * consequences. One without a code is never a success by mistake. */
static void stop(struct bm_worker_pool *pool, const struct bm_error *err,
                 int code)
{
    if (!pool->error.code) {
        pool->error = *err;
        if (!err->code)
            bm_fail_errno(&pool->error, code, "cannot go on");
    }
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->changed);
}

static void *worker_main(void *opaque)
{
    struct worker *worker = opaque;
    struct bm_worker_pool *pool = worker->pool;
    struct bm_error err = BM_ERROR_INIT;
    int rc = pool->work(pool->opaque, worker->number, &err);

    BM_LOCK(&pool->mutex);
    if (rc != 0)
        stop(pool, &err, EIO);
    pool->active--;
    pthread_cond_broadcast(&pool->changed);
    return NULL;
}

static unsigned start_workers(struct bm_worker_pool *pool,
                              struct worker workers[], unsigned n)
{
    unsigned started = 0;
    int rc = EINVAL; /* of a worker pool of none */

    BM_LOCK(&pool->mutex);
    for (; started < n && started < BM_WORKER_POOL_MAX; started++) {
        workers[started] = (struct worker){pool, started, 0};
        rc = pthread_create(&workers[started].thread, NULL, worker_main,
                            &workers[started]);
        if (rc != 0)
            break;
        pool->active++;
    }
    if (started == 0)
        bm_fail_errno(&pool->error, rc, "cannot start a thread");
    return started;
}

/* True while workers run, after at most TICK_MS. */
static bool wait_tick(struct bm_worker_pool *pool)
{
    struct timespec until = bm_deadline(TICK_MS);
    int rc = 0;

    BM_LOCK(&pool->mutex);
    while (pool->active && rc == 0)
        rc = pthread_cond_timedwait(&pool->changed, &pool->mutex, &until);
    return pool->active > 0;
}

static void tick(struct bm_worker_pool *pool)
{
    struct bm_error err = BM_ERROR_INIT;

    if (!pool->tick || pool->tick(pool->opaque, &err) == 0)
        return;
    BM_LOCK(&pool->mutex);
    stop(pool, &err, ECANCELED);
}

static void prepare(struct bm_worker_pool *pool)
{
    pthread_mutex_init(&pool->mutex, NULL);
    bm_cond_init(&pool->changed);
    atomic_init(&pool->stop, false);
    pool->active = 0;
    pool->error = (struct bm_error)BM_ERROR_INIT;
}

int bm_worker_pool_run(struct bm_worker_pool *pool, unsigned n,
                       struct bm_error *err)
{
    struct worker workers[BM_WORKER_POOL_MAX];
    unsigned started;

    prepare(pool);
    started = start_workers(pool, workers, n);
    while (wait_tick(pool))
        tick(pool);
    for (unsigned i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->mutex);
    if (pool->error.code && err)
        *err = pool->error;
    return -pool->error.code;
}
