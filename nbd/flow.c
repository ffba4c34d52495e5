// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/flow.h"

#include "nbd/cleanup.h"
#include "nbd/flow-lane.h"
#include "nbd/units.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define TICK_MS 200

/* One flow. What follows mutex is guarded by it. */
struct task {
    const struct bm_flow *flow;
    uint64_t total;            /* bytes to look at */
    atomic_uint_fast64_t done; /* bytes */
    atomic_bool stop;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned active;       /* workers */
    uint64_t next;         /* offset to hand out */
    struct bm_error error; /* of the first worker that failed */
};

struct worker {
    struct task *task;
    unsigned lane;
    pthread_t thread;
};

/* The next span that holds something to look at. */
static bool claim(struct task *task, uint64_t *offset, uint64_t *end)
{
    uint64_t size = task->flow->source->size, length;

    BM_LOCK(&task->mutex);
    *offset = task->next;
    if (*offset < size && task->flow->only) {
        if (!bm_bitmap_next(task->flow->only, false, *offset, size, offset,
                            &length))
            *offset = size;
        *offset -= *offset % BM_DIGEST_BLOCK;
    }
    *end = size - *offset > BM_SPAN ? *offset + BM_SPAN : size;
    task->next = *end;
    return *offset < size;
}

static void fail(struct task *task, const struct bm_error *err)
{
    BM_LOCK(&task->mutex);

    if (!task->error.code) {
        task->error = *err;
        if (!err->code) /* never a success by mistake */
            bm_fail(&task->error, EIO, "cannot read %s",
                    task->flow->source->name);
    }
    atomic_store(&task->stop, true);
}

static int work(struct task *task, struct bm_flow_lane *lane,
                struct bm_error *err)
{
    uint64_t offset, end;
    int rc = 0;

    while (rc == 0 && !atomic_load(&task->stop) && claim(task, &offset, &end))
        rc = bm_flow_lane_span(lane, offset, end, err);
    return rc;
}

static void retire(struct task *task)
{
    BM_LOCK(&task->mutex);

    task->active--;
    pthread_cond_signal(&task->changed);
}

static void *worker_main(void *opaque)
{
    struct worker *worker = opaque;
    struct task *task = worker->task;
    struct bm_error err = BM_ERROR_INIT;
    struct bm_flow_lane *lane = bm_flow_lane_new(
        task->flow, worker->lane, &task->stop, &task->done, &err);
    int rc = lane ? work(task, lane, &err) : -err.code;

    bm_flow_lane_free(lane);
    if (rc != 0)
        fail(task, &err);
    retire(task);
    return NULL;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Two writers of one file through the page cache only wait for its lock. What
 * must be digested, or waited for, is worth a second one. */
static bool only_copies_cached(const struct bm_flow *flow)
{
    return flow->target && !flow->digest && flow->source->local &&
           flow->target->local && strcmp(flow->target->medium, "cache") == 0;
}

static unsigned count_workers(const struct bm_flow *flow)
{
    uint64_t spans = flow->source->size / BM_SPAN + 1;
    unsigned n = least(flow->source->lanes, BM_LANES_MAX);

    if (flow->target)
        n = least(n, flow->target->lanes);
    if (only_copies_cached(flow))
        n = 1;
    n = least(n, flow->lanes ? flow->lanes : bm_device_lanes());
    return spans < n ? (unsigned)spans : n;
}

/* Starts as many as it can; none is an error. */
static unsigned start_workers(struct task *task, struct worker workers[],
                              unsigned n)
{
    unsigned started = 0;
    int rc = 0;

    BM_LOCK(&task->mutex);
    for (; started < n; started++) {
        workers[started] = (struct worker){task, started, 0};
        rc = pthread_create(&workers[started].thread, NULL, worker_main,
                            &workers[started]);
        if (rc != 0)
            break;
        task->active++;
    }
    if (started == 0)
        bm_fail_errno(&task->error, rc, "cannot start a thread");
    return started;
}

/* True while workers run, after at most TICK_MS. */
static bool wait_tick(struct task *task)
{
    struct timespec until = bm_deadline(TICK_MS);
    int rc = 0;

    BM_LOCK(&task->mutex);
    while (task->active && rc == 0)
        rc = pthread_cond_timedwait(&task->changed, &task->mutex, &until);
    return task->active > 0;
}

static void cancel(struct task *task)
{
    struct bm_error err = BM_ERROR_INIT;

    bm_fail_errno(&err, ECANCELED, "cannot go on with %s",
                  task->flow->source->name);
    fail(task, &err);
}

static void run_workers(struct task *task)
{
    const struct bm_flow *flow = task->flow;
    struct worker workers[BM_LANES_MAX];
    unsigned n = start_workers(task, workers, count_workers(flow));

    while (wait_tick(task))
        if (flow->progress &&
            flow->progress(flow->opaque, atomic_load(&task->done),
                           task->total) != 0)
            cancel(task);
    for (unsigned i = 0; i < n; i++)
        pthread_join(workers[i].thread, NULL);
}

static void prepare(struct task *task)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&task->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&task->changed, &attr);
    pthread_condattr_destroy(&attr);
}

int bm_flow_run(const struct bm_flow *flow, struct bm_error *err)
{
    struct task task = {.flow = flow, .error = BM_ERROR_INIT};

    task.total = flow->only ? bm_bitmap_count(flow->only) : flow->source->size;
    prepare(&task);
    run_workers(&task);
    pthread_cond_destroy(&task.changed);
    pthread_mutex_destroy(&task.mutex);
    if (task.error.code) {
        if (err)
            *err = task.error;
        return -task.error.code;
    }
    if (flow->progress) /* a cancel comes too late now */
        (void)flow->progress(flow->opaque, task.total, task.total);
    return bm_device_intact(flow->source, err);
}
