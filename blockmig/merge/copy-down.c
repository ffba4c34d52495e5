// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Layers that no guest runs on go down by our own copy engine, and are digested
 * on the way, so that the proof has only the base to read. They are locked from
 * before the first byte is read until nothing names them any more.
 *
 * Whole digest blocks are read, through the base where a layer holds parts of
 * one: only those parts are written. What is read of a base that is being
 * written to may be wrong, then the digest is too, and the proof reads all
 * again (verify.c).
 *
 * What is left to qemu-img: a base that must grow; layers that hold parts
 * smaller than BM_SPARSE.
 */
#include "blockmig/merge/layer-reader.h"
#include "nbd/base/cleanup.h"
#include "nbd/copy/copy.h"
#include "nbd/image/image-lock.h"
#include "nbd/base/fsync.h"

#include <errno.h>
#include <unistd.h>

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    const struct bm_merge_reading *r = opaque;

    return bm_merge_reading_progress(opaque, done, total) ||
           bm_run_cancelled(r->run);
}

static int open_base(const struct bm_merge_reading *r, struct bm_device **out,
                     struct bm_error *err)
{
    const struct bm_layer *base = bm_merge_base(r->merge);
    const struct bm_image_layer file = {.path = base->path};
    const struct bm_open how = {.format = base->format,
                                .queues = bm_frozen_chain_queues(),
                                .write = true,
                                /* small pieces go to the medium together */
                                .direct =
                                    !r->parts && bm_image_direct(&file, 1),
                                .keep = r->parts != NULL};

    return bm_device_open(base->path, &how, out, err);
}

static int copy_view(struct bm_merge_reading *r, struct bm_device *from,
                     struct bm_device *to)
{
    struct bm_copy_result result;
    struct bm_copy copy = {.source = from,
                           .target = to,
                           .only = r->only,
                           .parts = r->parts,
                           .as_it_is = true,
                           .rate_limit = r->rate_limit,
                           .queues = r->queues,
                           .progress = on_progress,
                           .opaque = r};
    int rc = 0;

    if (r->run->job->snapshot->proof == BM_PROOF_TOUCHED)
        rc = bm_manifest_new(NULL, bm_job_store_dir(r->run->jobs),
                             bm_digest_sha256, from->size, &r->manifest,
                             &r->error);
    copy.digests = r->manifest;
    return rc ? rc : bm_copy_run(&copy, &result, &r->error);
}

static int copy_into(struct bm_merge_reading *r, struct bm_device *from)
{
    const char *base = bm_merge_base(r->merge)->path;
    struct bm_device *to = NULL;
    int rc = open_base(r, &to, &r->error);

    if (!rc)
        rc = from->size == to->size ? copy_view(r, from, to) : -ENOTSUP;
    bm_device_close(to);
    return rc ? rc : bm_fsync_file(base, &r->error);
}

/* Which blocks are read and, unless that is the same, which parts of them
 * written. */
static int choose(struct bm_merge_reading *r,
                  const struct bm_frozen_chain *view)
{
    uint64_t size = view->device->size, held = 0, at = 0, length;
    int rc = 0;

    r->only = bm_bitmap_new(size, BM_DIGEST_BLOCK);
    r->parts = bm_bitmap_new(size, BM_SPARSE);
    rc = r->only && r->parts
             ? bm_frozen_chain_allocated(view, r->parts, &held, &r->error)
             : bm_merge_reading_no_memory(r, &r->error);
    if (rc)
        return rc;
    if (held != bm_bitmap_count(r->parts))
        return -ENOTSUP;
    for (; bm_bitmap_next(r->parts, false, at, size, &at, &length);
         at += length)
        bm_bitmap_set(r->only, at, length);
    if (held == bm_bitmap_count(r->only))
        bm_bitmap_free(BM_STEAL(r->parts));
    return 0;
}

static int copy_down(struct bm_merge_reading *r)
{
    BM_FROZEN_CHAIN view = {0};
    int rc = bm_merge_reading_open(r, 0, (unsigned)bm_merge_goes(r->merge),
                                   &view, &r->error);

    if (!rc)
        rc = choose(r, &view);
    return rc ? rc : copy_into(r, view.device);
}

/* --- in the moving thread --- */

/* Those below the uppermost, which the caller holds. */
static int lock_layers(const struct bm_job_merge *merge, int *locks,
                       size_t *n_locks, struct bm_error *err)
{
    for (size_t l = 1; l < bm_merge_goes(merge); l++) {
        int fd = bm_frozen_lock(merge->layers.layers[l].path, err);

        if (fd < 0)
            return fd;
        locks[(*n_locks)++] = fd;
    }
    return 0;
}

static int copy_layers(struct bm_merge_reading *r, struct bm_error *err)
{
    BM_FREE int *locks = calloc(r->merge->layers.n, sizeof *locks);
    size_t n_locks = 0;
    int rc = locks ? lock_layers(r->merge, locks, &n_locks, err)
                   : bm_merge_reading_no_memory(r, err);

    if (!rc)
        rc = bm_merge_reading_begin(r, err);
    if (!rc)
        rc = bm_merge_reading_end(r, err);
    while (n_locks > 0)
        (void)close(locks[--n_locks]);
    return rc;
}

int bm_merge_copy(struct bm_run *run, struct bm_job_merge *merge,
                  struct bm_merge_reading **out, struct bm_error *err)
{
    struct bm_merge_reading *r;
    int rc;

    *out = NULL;
    r = bm_merge_reading_new(run, merge, copy_down, err);
    if (!r)
        return -ENOMEM;
    r->beside = true;
    rc = copy_layers(r, err);
    r->beside = false;
    if (!rc)
        *out = r;
    else if (!bm_background_left())
        bm_merge_reading_free(r);
    return rc;
}
