// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/compare/compare.h"

#include "nbd/base/cleanup.h"
#include "nbd/thread/worker-pool.h"
#include "nbd/compare/compare-worker.h"

#include <errno.h>
#include <string.h>

/* Spans that may wait for one before them: 8 MiB with their digests. */
#define MAX_HELD 64
#define MIN_SPAN_BLOCKS (4 * BM_HASH_BATCH) /* but at the end */

/* One compare. */
struct task {
    struct bm_device *devs[2];
    struct bm_compare_how how;
    uint64_t n_blocks;
    unsigned n_workers;
    atomic_uint_fast64_t done; /* bytes */

    pthread_mutex_t hand_out; /* held while a device is asked what it has */
    uint64_t next;            /* block to hand out */
    uint64_t look;            /* how far to look at least, after zeroes */

    struct bm_worker_pool pool; /* its mutex is taken after hand_out */
    struct bm_ledger ledger;    /* guarded by the worker pool's mutex */
};

_Static_assert(BM_QUEUES_MAX <= BM_WORKER_POOL_MAX, "a worker for each lane");

void bm_compare_result_clear(struct bm_compare_result *result)
{
    free(result->ranges);
    memset(result, 0, sizeof *result);
}

static void free_span(struct bm_compare_range **range)
{
    bm_compare_range_free(*range);
}

/* --- ranges -------------------------------------------------------------- */

/* Owns the range; NULL: there was no memory for one. */
static int hand_in(struct task *task, struct bm_compare_range *range,
                   struct bm_error *err)
{
    BM_LOCK(&task->pool.mutex);
    int rc;

    if (!range)
        return bm_fail_errno(err, ENOMEM, "cannot compare");
    rc = bm_ledger_add(&task->ledger, range, err);
    pthread_cond_broadcast(&task->pool.changed);
    return rc;
}

/* Waits while too much waits for a slow range; false: stop. */
static bool wait_for_space(struct task *task)
{
    BM_LOCK(&task->pool.mutex);

    while (task->ledger.held >= MAX_HELD &&
           !bm_worker_pool_stopped(&task->pool))
        pthread_cond_wait(&task->pool.changed, &task->pool.mutex);
    return !bm_worker_pool_stopped(&task->pool);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How long the next range should be: shorter towards the end, so that the
 * workers end together; always whole windows. */
static uint64_t span_blocks(const struct task *task)
{
    uint64_t share = (task->n_blocks - task->next) / (2 * task->n_workers);

    share = (share + BM_HASH_BATCH - 1) / BM_HASH_BATCH * BM_HASH_BATCH;
    if (share < MIN_SPAN_BLOCKS)
        return MIN_SPAN_BLOCKS;
    return min_u64(share, BM_COMPARE_RANGE_BLOCKS);
}

/* Hands in the zeroes that come next, however many looks they take; *n are
 * the blocks behind them that were looked at. */
static int skip_zeroes(struct task *task, struct bm_compare_extents *extents,
                       size_t *n, struct bm_error *err)
{
    for (;;) {
        uint64_t left = task->n_blocks - task->next;
        uint64_t range = span_blocks(task);
        size_t zeroes;
        int rc;

        *n = (size_t)min_u64(left, task->look > range ? task->look : range);
        if (!wait_for_space(task))
            *n = 0;
        if (*n == 0)
            return 0;
        rc = bm_compare_extents_look(extents, task->next, *n, err);
        if (rc != 0)
            return rc;
        zeroes = bm_compare_extents_zeroes(extents);
        if (zeroes == 0)
            return 0;
        rc = hand_in(task, bm_compare_range_new_zero(task->next, zeroes), err);
        if (rc != 0)
            return rc;
        atomic_fetch_add(&task->done, (uint64_t)zeroes * BM_COMPARE_BLOCK);
        task->next += zeroes;
        *n -= zeroes;
        if (*n > 0)
            return 0;
        task->look = min_u64(2 * (uint64_t)zeroes, BM_LOOK_BLOCKS);
    }
}

/* The next range with something to do, looked at; *out NULL at the end. */
static int next_span(struct task *task, struct bm_compare_worker *worker,
                     struct bm_compare_range **out, struct bm_error *err)
{
    BM_LOCK(&task->hand_out);
    size_t n, md_len = task->how.digests ? bm_digest_sha256->len : 0;
    int rc = skip_zeroes(task, bm_compare_worker_sides(worker), &n, err);

    *out = NULL;
    if (rc != 0 || n == 0)
        return rc;
    task->look = 0;
    n = (size_t)min_u64(n, span_blocks(task));
    *out = bm_compare_range_new(task->next, n, md_len);
    if (!*out)
        return bm_fail_errno(err, ENOMEM, "cannot compare");
    task->next += n;
    return 0;
}

/* --- workers ------------------------------------------------------------ */

static int on_bytes(void *opaque, uint64_t bytes)
{
    struct task *task = opaque;

    atomic_fetch_add_explicit(&task->done, bytes, memory_order_relaxed);
    return bm_worker_pool_stopped(&task->pool);
}

static int run_spans(struct task *task, struct bm_compare_worker *worker,
                     struct bm_error *err)
{
    for (;;) {
        __attribute__((cleanup(free_span))) struct bm_compare_range *range =
            NULL;
        int rc = next_span(task, worker, &range, err);

        if (rc == 0 && !range)
            return 0;
        if (rc == 0)
            rc = bm_compare_worker_run(worker, range, on_bytes, task, err);
        if (rc == 0)
            rc = hand_in(task, BM_STEAL(range), err);
        if (rc != 0)
            return rc;
    }
}

static int work(void *opaque, unsigned number, struct bm_error *err)
{
    struct task *task = opaque;
    struct bm_compare_worker *worker = bm_compare_worker_new(
        task->devs[0], task->devs[1], number, &task->how, err);
    int rc = worker ? run_spans(task, worker, err) : -EIO; /* err says what */

    bm_compare_worker_free(worker);
    return rc;
}

static int tick(void *opaque, struct bm_error *err)
{
    struct task *task = opaque;
    const struct bm_compare_how *how = &task->how;
    uint64_t size = task->ledger.size;

    if (!how->progress ||
        how->progress(how->opaque, min_u64(atomic_load(&task->done), size),
                      size) == 0)
        return 0;
    return bm_fail_errno(err, ECANCELED, "cannot compare");
}

static unsigned count_workers(const struct task *task)
{
    unsigned n = bm_device_lanes();

    for (int s = 0; s < 2; s++)
        if (task->devs[s]->queues < n)
            n = task->devs[s]->queues;
    if (task->how.queues && task->how.queues < n)
        n = task->how.queues;
    return n > 0 ? n : 1;
}

/* --- one compare -------------------------------------------------------- */

/* "cache" < "server" < "medium" */
static const char *weaker(const char *a, const char *b)
{
    if (strcmp(a, "cache") == 0 || strcmp(b, "medium") == 0)
        return a;
    return strcmp(a, "medium") == 0 || strcmp(b, "cache") == 0 ? b : a;
}

static int finish(struct task *task, struct bm_error *err)
{
    struct bm_compare_result *result = task->ledger.result;
    int rc = 0;

    for (int s = 0; rc == 0 && s < 2; s++)
        rc = bm_device_intact(task->devs[s], err);
    if (rc == 0)
        rc = bm_ledger_finish(&task->ledger, err);
    if (rc != 0)
        return rc;
    result->size = task->ledger.size;
    result->equal = result->different == 0;
    result->medium = weaker(task->devs[0]->medium, task->devs[1]->medium);
    return 0;
}

static int prepare(struct task *task, struct bm_compare_result *result,
                   struct bm_error *err)
{
    const uint64_t sizes[2] = {task->devs[0]->size, task->devs[1]->size};
    uint64_t size = sizes[sizes[1] > sizes[0]];

    pthread_mutex_init(&task->hand_out, NULL);
    task->n_blocks = size / BM_COMPARE_BLOCK + (size % BM_COMPARE_BLOCK != 0);
    task->n_workers = count_workers(task);
    memset(result, 0, sizeof *result);
    return bm_ledger_start(&task->ledger, sizes, task->how.digests, result,
                           err);
}

static void release(struct task *task)
{
    bm_ledger_clear(&task->ledger);
    pthread_mutex_destroy(&task->hand_out);
}

int bm_compare(struct bm_device *a, struct bm_device *b,
               const struct bm_compare_how *how,
               struct bm_compare_result *result, struct bm_error *err)
{
    struct task task = {
        .devs = {a, b},
        .how = *how,
        .pool = {.work = work, .tick = tick, .opaque = &task},
    };
    int rc = prepare(&task, result, err);

    if (rc == 0)
        rc = bm_worker_pool_run(&task.pool, task.n_workers, err);
    if (rc == 0)
        rc = finish(&task, err);
    release(&task);
    if (rc != 0)
        bm_compare_result_clear(result);
    return rc;
}
