// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/thread/worker-pool.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>

#define TICK_MS 200

struct worker {
    struct bm_crew *crew;
    unsigned number;
    pthread_t thread;
};

/* With the mutex held. The first error wins; others are mostly its
 * consequences. One without a code is never a success by mistake. */
static void stop(struct bm_crew *crew, const struct bm_error *err, int code)
{
    if (!crew->error.code) {
        crew->error = *err;
        if (!err->code)
            bm_fail_errno(&crew->error, code, "cannot go on");
    }
    atomic_store(&crew->stop, true);
    pthread_cond_broadcast(&crew->changed);
}

static void *worker_main(void *opaque)
{
    struct worker *worker = opaque;
    struct bm_crew *crew = worker->crew;
    struct bm_error err = BM_ERROR_INIT;
    int rc = crew->work(crew->opaque, worker->number, &err);

    BM_LOCK(&crew->mutex);
    if (rc != 0)
        stop(crew, &err, EIO);
    crew->active--;
    pthread_cond_broadcast(&crew->changed);
    return NULL;
}

static unsigned start_workers(struct bm_crew *crew, struct worker workers[],
                              unsigned n)
{
    unsigned started = 0;
    int rc = EINVAL; /* of a crew of none */

    BM_LOCK(&crew->mutex);
    for (; started < n && started < BM_CREW_MAX; started++) {
        workers[started] = (struct worker){crew, started, 0};
        rc = pthread_create(&workers[started].thread, NULL, worker_main,
                            &workers[started]);
        if (rc != 0)
            break;
        crew->active++;
    }
    if (started == 0)
        bm_fail_errno(&crew->error, rc, "cannot start a thread");
    return started;
}

/* True while workers run, after at most TICK_MS. */
static bool wait_tick(struct bm_crew *crew)
{
    struct timespec until = bm_deadline(TICK_MS);
    int rc = 0;

    BM_LOCK(&crew->mutex);
    while (crew->active && rc == 0)
        rc = pthread_cond_timedwait(&crew->changed, &crew->mutex, &until);
    return crew->active > 0;
}

static void tick(struct bm_crew *crew)
{
    struct bm_error err = BM_ERROR_INIT;

    if (!crew->tick || crew->tick(crew->opaque, &err) == 0)
        return;
    BM_LOCK(&crew->mutex);
    stop(crew, &err, ECANCELED);
}

static void prepare(struct bm_crew *crew)
{
    pthread_mutex_init(&crew->mutex, NULL);
    bm_cond_init(&crew->changed);
    atomic_init(&crew->stop, false);
    crew->active = 0;
    crew->error = (struct bm_error)BM_ERROR_INIT;
}

int bm_crew_run(struct bm_crew *crew, unsigned n, struct bm_error *err)
{
    struct worker workers[BM_CREW_MAX];
    unsigned started;

    prepare(crew);
    started = start_workers(crew, workers, n);
    while (wait_tick(crew))
        tick(crew);
    for (unsigned i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_cond_destroy(&crew->changed);
    pthread_mutex_destroy(&crew->mutex);
    if (crew->error.code && err)
        *err = crew->error;
    return -crew->error.code;
}
