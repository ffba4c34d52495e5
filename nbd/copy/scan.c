// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/copy/scan.h"

#include "nbd/base/cleanup.h"
#include "nbd/digest/manifest-file.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define BLOCK BM_DIGEST_BLOCK
#define MANY 256u /* entries looked at together */

struct task {
    const struct bm_scan *scan;
    struct bm_manifest *into;          /* hash: or NULL */
    const struct bm_manifest *against; /* check: or NULL */
    pthread_mutex_t mutex;
    struct bm_bitmap *differ;    /* under mutex */
    uint8_t tail[BM_DIGEST_MAX]; /* of a short last block of zeroes */
};

static void differs(struct task *task, uint64_t block)
{
    BM_LOCK(&task->mutex);

    bm_bitmap_set(task->differ, block * BLOCK, 1);
}

/* Looks at n entries; mds NULL: the blocks are zero. */
static int check(struct task *task, uint64_t first, size_t n,
                 const uint8_t *mds, const bool *zero, struct bm_error *err)
{
    size_t len = bm_manifest_digest(task->against)->len;
    uint64_t whole = bm_manifest_length(task->against) / BLOCK;
    uint8_t wanted[MANY * BM_DIGEST_MAX];
    enum bm_entry kinds[MANY];
    int rc = bm_manifest_get(task->against, first, n, wanted, kinds, err);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        bool is_zero = first + i < whole && (!mds || zero[i]);
        const uint8_t *md = mds ? mds + i * len : task->tail;

        if (kinds[i] == BM_ENTRY_UNKNOWN ||
            is_zero != (kinds[i] == BM_ENTRY_ZERO) ||
            (!is_zero && memcmp(md, wanted + i * len, len) != 0))
            differs(task, first + i);
    }
    return rc;
}

static int on_data(void *opaque, unsigned queue, struct bm_piece *piece,
                   struct bm_error *err)
{
    struct task *task = opaque;
    uint64_t first = piece->offset / BLOCK;

    if (task->into)
        return bm_manifest_set(task->into, first, piece->n_blocks, piece->mds,
                               piece->zero, err);
    return check(task, first, piece->n_blocks, piece->mds, piece->zero, err);
}

static int on_zeroes(void *opaque, unsigned queue, uint64_t offset,
                     uint64_t length, struct bm_error *err)
{
    struct task *task = opaque;
    uint64_t first = offset / BLOCK, n = (length + BLOCK - 1) / BLOCK;
    int rc = 0;

    if (task->into)
        return bm_manifest_set_zero(task->into, first, n, err);
    for (uint64_t i = 0, some; rc == 0 && i < n; i += some) {
        some = n - i < MANY ? n - i : MANY;
        rc = check(task, first + i, (size_t)some, NULL, NULL, err);
    }
    return rc;
}

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    const struct bm_scan *scan = ((struct task *)opaque)->scan;

    return scan->progress ? scan->progress(scan->opaque, done, total) : 0;
}

static int run(struct task *task, const struct bm_bitmap *only,
               struct bm_error *err)
{
    const struct bm_manifest *m = task->into ? task->into : task->against;
    struct bm_pipeline pipeline = {
        .source = task->scan->device,
        .only = only,
        .digest = bm_manifest_digest(m),
        .rate_limit = task->scan->rate_limit,
        .queues = task->scan->queues,
        .data = on_data,
        .zeroes = on_zeroes,
        .progress = on_progress,
        .opaque = task,
    };
    int rc;

    pthread_mutex_init(&task->mutex, NULL);
    rc = bm_pipeline_run(&pipeline, err);
    pthread_mutex_destroy(&task->mutex);
    return rc;
}

int bm_scan_hash(const struct bm_scan *scan, struct bm_manifest *into,
                 struct bm_error *err)
{
    struct task task = {.scan = scan, .into = into};

    return run(&task, scan->only, err);
}

static int digest_tail(struct task *task, struct bm_error *err)
{
    const struct bm_digest *digest = bm_manifest_digest(task->against);
    const void *none = NULL;
    size_t rest = bm_manifest_length(task->against) % BLOCK;
    struct bm_hasher *hasher;
    int rc = 0;

    if (!rest)
        return 0;
    hasher = bm_hasher_new(digest, err);
    if (!hasher)
        return -EIO;
    if (bm_hasher_blocks(hasher, 1, &none, &rest, task->tail, NULL) != 0)
        rc = bm_fail(err, EIO, "cannot compute %s", digest->name);
    bm_hasher_free(hasher);
    return rc;
}

int bm_scan_check(const struct bm_scan *scan, const struct bm_manifest *against,
                  struct bm_bitmap *differ, struct bm_error *err)
{
    struct task task = {.scan = scan, .against = against, .differ = differ};
    uint64_t length = bm_manifest_length(against);
    BM_BITMAP *all = NULL;
    int rc = digest_tail(&task, err);

    if (rc == 0 && scan->device->size < length) {
        bm_fail(err, EINVAL, "cannot check %s", scan->device->name);
        return bm_cause(err, "it is shorter than the manifest"), -EINVAL;
    }
    if (rc == 0 && !scan->only && scan->device->size > length) {
        /* the device goes on where the image has ended */
        all = bm_bitmap_new(length, BLOCK);
        if (!all)
            return bm_fail_errno(err, ENOMEM, "cannot check %s",
                                 scan->device->name);
        bm_bitmap_set(all, 0, length);
    }
    return rc ? rc : run(&task, all ? all : scan->only, err);
}
