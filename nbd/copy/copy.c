// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/copy/copy.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define CHECKPOINT_MS 5000
#define BLOCK BM_DIGEST_BLOCK

struct task {
    const struct bm_copy *copy;
    size_t step; /* zero runs shorter than this are written */
    atomic_uint_fast64_t data, zeroes;

    pthread_mutex_t mutex;      /* of what follows, and of copy->written */
    uint64_t unread_at, unread; /* the first piece with a bad sector */
    int64_t next_ms;            /* when the next checkpoint is due */
    bool busy;                  /* one is being made */
};

/* --- writing --- */

static int write_run(struct task *task, unsigned queue, struct bm_piece *piece,
                     size_t from, size_t to, bool zero, struct bm_error *err)
{
    struct bm_device *target = task->copy->target;
    struct bm_request *req = &piece->writes[piece->n_writes];

    atomic_fetch_add_explicit(zero ? &task->zeroes : &task->data, to - from,
                              memory_order_relaxed);
    if (zero && target->zeroed)
        return 0;
    *req = (struct bm_request){.op = zero ? BM_ZERO : BM_WRITE,
                               .buf = piece->data + from,
                               .len = to - from,
                               .offset = piece->offset + from};
    piece->n_writes++;
    return bm_device_submit(target, queue, req, err);
}

/* The end of the run of steps that are alike. */
static size_t run_end(const struct task *task, const struct bm_piece *piece,
                      size_t from, bool *zero)
{
    size_t at = from;

    *zero = false;
    if (task->copy->as_it_is)
        return piece->len;
    for (; at < piece->len; at += task->step) {
        size_t left = piece->len - at;
        bool is =
            bm_is_zero(piece->data + at, left < task->step ? left : task->step);

        if (at == from)
            *zero = is;
        else if (is != *zero)
            return at;
    }
    return piece->len;
}

static int write_parts(struct task *task, unsigned queue,
                       struct bm_piece *piece, size_t from, size_t to,
                       bool zero, struct bm_error *err)
{
    const struct bm_bitmap *parts = task->copy->parts;
    uint64_t at = piece->offset + from, end = piece->offset + to, length;
    int rc = 0;

    if (!parts)
        return write_run(task, queue, piece, from, to, zero, err);
    for (; !rc && bm_bitmap_next(parts, false, at, end, &at, &length);
         at += length)
        rc = write_run(task, queue, piece, at - piece->offset,
                       at + length - piece->offset, zero, err);
    return rc;
}

static int on_data(void *opaque, unsigned queue, struct bm_piece *piece,
                   struct bm_error *err)
{
    struct task *task = opaque;
    const struct bm_copy *copy = task->copy;
    int rc = 0;

    if (copy->digests)
        rc = bm_manifest_set(copy->digests, piece->offset / BLOCK,
                             piece->n_blocks, piece->mds, piece->zero, err);
    for (size_t from = 0, to; rc == 0 && from < piece->len; from = to) {
        bool zero;

        to = run_end(task, piece, from, &zero);
        rc = write_parts(task, queue, piece, from, to, zero, err);
    }
    return rc;
}

static void mark_written(struct task *task, uint64_t offset, uint64_t length)
{
    if (!task->copy->written)
        return;
    BM_LOCK(&task->mutex);
    bm_bitmap_set(task->copy->written, offset, length);
}

static int on_written(void *opaque, uint64_t offset, uint64_t length,
                      struct bm_error *err)
{
    mark_written(opaque, offset, length);
    return 0;
}

/* --- zeroes that were not read --- */

static int zero_parts(const struct bm_copy *copy, unsigned queue,
                      uint64_t offset, uint64_t length, struct bm_error *err)
{
    uint64_t at = offset, end = offset + length, some;
    int rc = 0;

    if (!copy->parts)
        return bm_device_zero(copy->target, queue, length, offset, err);
    for (; !rc && bm_bitmap_next(copy->parts, false, at, end, &at, &some);
         at += some)
        rc = bm_device_zero(copy->target, queue, some, at, err);
    return rc;
}

static int on_zeroes(void *opaque, unsigned queue, uint64_t offset,
                     uint64_t length, struct bm_error *err)
{
    struct task *task = opaque;
    int rc = 0;

    atomic_fetch_add_explicit(&task->zeroes, length, memory_order_relaxed);
    if (task->copy->digests)
        rc = bm_manifest_set_zero(task->copy->digests, offset / BLOCK,
                                  (length + BLOCK - 1) / BLOCK, err);
    if (rc == 0 && !task->copy->target->zeroed)
        rc = zero_parts(task->copy, queue, offset, length, err);
    if (rc == 0)
        mark_written(task, offset, length);
    return rc;
}

static void on_unread(void *opaque, uint64_t offset, uint64_t length)
{
    struct task *task = opaque;

    BM_LOCK(&task->mutex);
    if (task->unread && task->unread_at < offset)
        return;
    task->unread_at = offset;
    task->unread = length;
}

/* --- checkpoints --- */

/* What is written by now, as a bitmap of the caller's; NULL: not due, or out
 * of memory (then the next one will do). */
static struct bm_bitmap *due(struct task *task)
{
    struct bm_bitmap *written = task->copy->written, *now;

    BM_LOCK(&task->mutex);
    if (task->busy || bm_now_ms() < task->next_ms)
        return NULL;
    now = bm_bitmap_new(bm_bitmap_size(written), bm_bitmap_block(written));
    if (now && bm_bitmap_merge(now, written, NULL) != 0) {
        bm_bitmap_free(now);
        now = NULL;
    }
    task->busy = now != NULL;
    return now;
}

/* Only what was written before the flush is durable after it. The spool of
 * digests goes first too. */
static int on_pause(void *opaque, unsigned queue, struct bm_error *err)
{
    struct task *task = opaque;
    const struct bm_copy *copy = task->copy;
    struct bm_bitmap *now = due(task);
    int rc;

    if (!now)
        return 0;
    rc = copy->target->ops->flush(copy->target, queue, err);
    if (rc == 0 && copy->digests)
        rc = bm_manifest_sync(copy->digests, err);
    if (rc == 0)
        rc = copy->checkpoint(copy->opaque, now, err);
    bm_bitmap_free(now);
    BM_LOCK(&task->mutex);
    task->busy = false;
    task->next_ms = bm_now_ms() + CHECKPOINT_MS;
    return rc;
}

/* --- the whole --- */

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    const struct bm_copy *copy = ((struct task *)opaque)->copy;

    return copy->progress ? copy->progress(copy->opaque, done, total) : 0;
}

static int run(struct task *task, struct bm_error *err)
{
    const struct bm_copy *copy = task->copy;
    struct bm_pipeline pipeline = {
        .source = copy->source,
        .target = copy->target,
        .only = copy->only,
        .digest = copy->digests ? bm_manifest_digest(copy->digests) : NULL,
        .rate_limit = copy->rate_limit,
        .queues = copy->queues,
        .data = on_data,
        .written = on_written,
        .zeroes = on_zeroes,
        .unread = on_unread,
        .pause = copy->checkpoint && copy->written ? on_pause : NULL,
        .progress = on_progress,
        .opaque = task,
    };
    int rc = bm_pipeline_run(&pipeline, err);

    return rc ? rc : bm_device_flush(copy->target, err);
}

/* Small holes are kept where they cost a call only; a server, or a guest that
 * uses the same disk, is spared small requests. */
static size_t sparse_step(const struct bm_device *target)
{
    return target->local && strcmp(target->medium, "cache") == 0 ? BM_SPARSE
                                                                 : BLOCK;
}

int bm_copy_run(const struct bm_copy *copy, struct bm_copy_result *result,
                struct bm_error *err)
{
    struct task task = {.copy = copy,
                        .step = sparse_step(copy->target),
                        .next_ms = bm_now_ms() + CHECKPOINT_MS};
    int rc;

    if (copy->target->size < copy->source->size) {
        bm_fail(err, ENOSPC, "cannot copy %s to %s", copy->source->name,
                copy->target->name);
        return bm_cause(err, "the target is smaller"), -ENOSPC;
    }
    pthread_mutex_init(&task.mutex, NULL);
    rc = run(&task, err);
    pthread_mutex_destroy(&task.mutex);
    result->data = task.data;
    result->zeroes = task.zeroes;
    result->unread_at = task.unread_at;
    result->unread = task.unread;
    return rc;
}
