// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/compare.h"

#include "nbd/cleanup.h"
#include "nbd/pair.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define TICK_MS 200
#define MAX_WORKERS 64

_Static_assert(BM_COMPARE_BLOCK == BM_DIGEST_BLOCK, "one block size");
_Static_assert(sizeof(((struct bm_compare_result *)0)->root_a) == BM_DIGEST_HEX,
               "room for a digest");

/* One compare. What follows mutex is guarded by it. */
struct task {
    struct bm_device *devs[2];
    uint64_t sizes[2], size, n_blocks; /* size: the larger one */
    atomic_uint_fast64_t done;         /* bytes */
    atomic_bool stop;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned active;       /* workers */
    uint64_t next;         /* block to hand out */
    uint64_t settled;      /* blocks before this one are in the roots */
    struct bm_span *early; /* done, but one before them is not yet */
    /* b is NULL until the first difference: the roots are the same so far */
    struct bm_root *roots[2];
    struct bm_compare_result *result;
    struct bm_error error; /* of the first worker that failed */
};

struct worker {
    struct task *task;
    unsigned connection;
    pthread_t thread;
};

void bm_compare_result_clear(struct bm_compare_result *result)
{
    free(result->ranges);
    memset(result, 0, sizeof *result);
}

static void free_span(struct bm_span **span)
{
    free(*span);
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void add_range(struct bm_compare_result *result, uint64_t offset,
                      uint64_t length)
{
    struct bm_range *last =
        result->n_ranges ? &result->ranges[result->n_ranges - 1] : NULL;

    result->different += length;
    if (last && last->offset + last->length == offset)
        last->length += length;
    else if (result->n_ranges < BM_COMPARE_MAX)
        result->ranges[result->n_ranges++] = (struct bm_range){offset, length};
    else
        result->truncated = true;
}

static bool add_ranges(struct task *task, const struct bm_span *span)
{
    bool any = false;

    for (size_t i = 0; i < span->n_blocks; i++) {
        uint64_t offset = (span->first + i) * BM_COMPARE_BLOCK;
        uint64_t left = task->size - offset;

        if (!span->differ[i])
            continue;
        any = true;
        add_range(task->result, offset,
                  left < BM_COMPARE_BLOCK ? left : BM_COMPARE_BLOCK);
    }
    return any;
}

/* Takes the span that comes next into the result. */
static int settle_span(struct task *task, const struct bm_span *span)
{
    if (add_ranges(task, span) && !task->roots[1]) {
        task->roots[1] = bm_root_copy(task->roots[0], &task->error);
        if (!task->roots[1])
            return -EIO;
    }
    for (int s = 0; s < 2; s++)
        if (task->roots[s] &&
            bm_root_add(task->roots[s], span->mds[s], span->n_mds[s]) != 0)
            return bm_fail(&task->error, EIO, "cannot compute SHA-256");
    task->result->data_read += span->data_read;
    task->settled += span->n_blocks;
    return 0;
}

/* The early span that comes next, taken off the list; NULL: none. */
static struct bm_span *take_next(struct task *task)
{
    for (struct bm_span **p = &task->early; *p; p = &(*p)->next)
        if ((*p)->first == task->settled) {
            struct bm_span *span = *p;

            *p = span->next;
            return span;
        }
    return NULL;
}

/* Spans end in any order, digests and ranges are wanted in theirs: early
 * ones wait, 0.1 % of the bytes that they stand for. Owns the span. */
static int finish_span(struct task *task, struct bm_span *span)
{
    BM_LOCK(&task->mutex);
    int rc = 0;

    span->next = task->early;
    task->early = span;
    while (rc == 0) {
        __attribute__((cleanup(free_span))) struct bm_span *next =
            take_next(task);

        if (!next)
            break;
        rc = settle_span(task, next);
    }
    return rc;
}

static int on_bytes(void *opaque, uint64_t bytes)
{
    struct task *task = opaque;

    atomic_fetch_add_explicit(&task->done, bytes, memory_order_relaxed);
    return atomic_load_explicit(&task->stop, memory_order_relaxed);
}

/* Hands out the next range; false at the end. */
static bool next_range(struct task *task, struct bm_span *span)
{
    BM_LOCK(&task->mutex);
    uint64_t left = task->n_blocks - task->next;

    if (left == 0 || atomic_load(&task->stop))
        return false;
    span->first = task->next;
    span->n_blocks = left < BM_SPAN_BLOCKS ? (size_t)left : BM_SPAN_BLOCKS;
    task->next += span->n_blocks;
    return true;
}

static int work(struct task *task, struct bm_pair *pair, struct bm_error *err)
{
    for (;;) {
        __attribute__((cleanup(free_span))) struct bm_span *span =
            malloc(sizeof *span);
        int rc;

        if (!span)
            return bm_fail_errno(err, ENOMEM, "cannot compare");
        if (!next_range(task, span))
            return 0;
        rc = bm_pair_run(pair, span, on_bytes, task, err);
        if (rc == 0)
            rc = finish_span(task, BM_STEAL(span));
        if (rc != 0)
            return rc;
    }
}

/* The first error wins; others are mostly its consequences. */
static void retire(struct task *task, int rc, const struct bm_error *err)
{
    BM_LOCK(&task->mutex);

    if (rc != 0 && !atomic_exchange(&task->stop, true) && !task->error.code)
        task->error = *err;
    task->active--;
    pthread_cond_signal(&task->changed);
}

static void *worker_main(void *opaque)
{
    struct worker *worker = opaque;
    struct task *task = worker->task;
    struct bm_error err = BM_ERROR_INIT;
    struct bm_pair *pair =
        bm_pair_new(task->devs[0], task->devs[1], worker->connection, &err);
    int rc = pair ? work(task, pair, &err) : -err.code;

    bm_pair_free(pair);
    retire(task, rc, &err);
    return NULL;
}

static unsigned count_workers(const struct task *task)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = bm_device_connections(task->devs[0]);

    if (bm_device_connections(task->devs[1]) < n)
        n = bm_device_connections(task->devs[1]);
    if (cores > 0 && (unsigned long)cores < n)
        n = (unsigned)cores;
    return n > MAX_WORKERS ? MAX_WORKERS : n;
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
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    BM_LOCK(&task->mutex);
    while (task->active && rc == 0)
        rc = pthread_cond_timedwait(&task->changed, &task->mutex, &until);
    return task->active > 0;
}

static void cancel(struct task *task)
{
    BM_LOCK(&task->mutex);

    if (!atomic_exchange(&task->stop, true) && !task->error.code)
        bm_fail_errno(&task->error, ECANCELED, "cannot compare");
}

static void run_workers(struct task *task, bm_compare_progress progress,
                        void *opaque)
{
    struct worker workers[MAX_WORKERS];
    unsigned n = start_workers(task, workers, count_workers(task));

    while (wait_tick(task))
        if (progress &&
            progress(opaque, atomic_load(&task->done), task->size) != 0)
            cancel(task);
    for (unsigned i = 0; i < n; i++)
        pthread_join(workers[i].thread, NULL);
}

static int finish_roots(struct task *task)
{
    struct bm_compare_result *result = task->result;

    /* The lengths are hashed too, so equal blocks may still end apart. */
    if (!task->roots[1])
        task->roots[1] = bm_root_copy(task->roots[0], &task->error);
    if (!task->roots[1])
        return -EIO;
    if (bm_root_final(task->roots[0], task->sizes[0], result->root_a) != 0 ||
        bm_root_final(task->roots[1], task->sizes[1], result->root_b) != 0)
        return bm_fail(&task->error, EIO, "cannot compute SHA-256");
    return 0;
}

/* "cache" < "server" < "medium" */
static const char *weaker(const char *a, const char *b)
{
    if (strcmp(a, "cache") == 0 || strcmp(b, "medium") == 0)
        return a;
    return strcmp(a, "medium") == 0 || strcmp(b, "cache") == 0 ? b : a;
}

static int finish(struct task *task)
{
    struct bm_compare_result *result = task->result;
    int rc = -task->error.code;

    for (int s = 0; rc == 0 && s < 2; s++)
        rc = bm_device_intact(task->devs[s], &task->error);
    if (rc == 0)
        rc = finish_roots(task);
    if (rc != 0)
        return rc;
    result->size = task->size;
    result->equal = task->sizes[0] == task->sizes[1] && result->different == 0;
    result->medium = weaker(bm_device_medium(task->devs[0]),
                            bm_device_medium(task->devs[1]));
    return 0;
}

static int prepare(struct task *task)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&task->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&task->changed, &attr);
    pthread_condattr_destroy(&attr);
    for (int s = 0; s < 2; s++)
        task->sizes[s] = bm_device_size(task->devs[s]);
    task->size = max_u64(task->sizes[0], task->sizes[1]);
    task->n_blocks =
        task->size / BM_COMPARE_BLOCK + (task->size % BM_COMPARE_BLOCK != 0);
    memset(task->result, 0, sizeof *task->result);
    task->result->ranges = calloc(BM_COMPARE_MAX, sizeof(struct bm_range));
    if (!task->result->ranges)
        return bm_fail_errno(&task->error, ENOMEM, "cannot compare");
    task->roots[0] = bm_root_new(&task->error);
    return task->roots[0] ? 0 : -task->error.code;
}

static void release(struct task *task)
{
    while (task->early) {
        struct bm_span *span = task->early;

        task->early = span->next;
        free(span);
    }
    bm_root_free(task->roots[0]);
    bm_root_free(task->roots[1]);
    pthread_cond_destroy(&task->changed);
    pthread_mutex_destroy(&task->mutex);
}

int bm_compare(struct bm_device *a, struct bm_device *b,
               bm_compare_progress progress, void *opaque,
               struct bm_compare_result *result, struct bm_error *err)
{
    struct task task = {
        .devs = {a, b}, .result = result, .error = BM_ERROR_INIT};
    int rc = prepare(&task);

    if (rc == 0) {
        run_workers(&task, progress, opaque);
        rc = finish(&task);
    }
    release(&task);
    if (rc != 0) {
        bm_compare_result_clear(result);
        if (err)
            *err = task.error;
    }
    return rc;
}
