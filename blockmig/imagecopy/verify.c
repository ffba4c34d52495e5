// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/imagecopy/image-copy-private.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <stdio.h>

#define ROUNDS 3 /* the first look, and one after each of two repairs */

/* What differs is not done: a --resume must not believe it is. */
static int forget(struct bm_image_copy_job *job, const struct bm_bitmap *differ,
                  struct bm_error *err)
{
    return job->done ? bm_bitmap_subtract(job->done, differ, err) : 0;
}

/* Sets in `differ` what is not on the target as it was read from the source.
 * The target is opened anew, so that nothing of the writing is believed. */
static int look(struct bm_image_copy_job *job, const struct bm_bitmap *only,
                struct bm_bitmap *differ, struct bm_error *err)
{
    struct bm_device *dev = NULL;
    struct bm_scan scan = {
        .only = only, .progress = bm_image_copy_tick, .opaque = job};
    int rc;

    /* a server of a format has the image for itself */
    if (!job->target->local)
        bm_image_copy_close_target(job);
    rc = bm_destination_read(&job->destination, job->how, &dev, err);
    if (rc)
        return rc;
    job->phase = "verifying";
    job->result->medium = dev->medium;
    scan.device = dev;
    rc = bm_scan_check(&scan, job->digests, differ, err);
    bm_device_close(dev);
    return rc ? rc : forget(job, differ, err);
}

static int repair(struct bm_image_copy_job *job, const struct bm_bitmap *differ,
                  struct bm_error *err)
{
    int rc = 0;

    job->result->repaired += bm_bitmap_count(differ);
    job->fresh = false; /* what is there is not zero any more */
    if (job->target)
        job->target->zeroed = false;
    else
        rc = bm_image_copy_open_target(job, err);
    return rc ? rc : bm_image_copy_copy(job, differ, err);
}

static int give_up(struct bm_image_copy_job *job,
                   const struct bm_bitmap *differ, struct bm_error *err)
{
    uint64_t offset = 0, length, size = job->result->size;
    int rc = 0;

    for (; rc == 0 &&
           bm_bitmap_next(differ, false, offset, size, &offset, &length);
         offset += length)
        rc = bm_image_copy_add_bad(job->result, offset, length);
    if (rc)
        return bm_fail_errno(err, ENOMEM, "cannot verify %s",
                             job->destination.name);
    bm_fail(err, EBADMSG, "the proof of %s failed", job->destination.name);
    bm_cause(err,
             "%llu bytes in %zu ranges, the first at %llu, do not read back as "
             "they were written, though written %d times",
             (unsigned long long)bm_bitmap_count(differ), job->result->n_bad,
             (unsigned long long)job->result->bad[0].offset, ROUNDS);
    bm_remedy(err, "do not trust this target; what is there is kept as %s",
              job->destination.part);
    return bm_status(err, BM_EXIT_PROOF);
}

int bm_image_copy_verify(struct bm_image_copy_job *job, struct bm_error *err)
{
    BM_BITMAP *before = NULL;
    int64_t start = bm_now_ms();
    int rc = 0;

    for (int round = 1; rc == 0; round++) {
        BM_BITMAP *differ = bm_bitmap_new(job->result->size, BM_DIGEST_BLOCK);

        if (!differ)
            return bm_fail_errno(err, ENOMEM, "cannot verify %s",
                                 job->destination.name);
        rc = look(job, before, differ, err);
        if (rc || bm_bitmap_count(differ) == 0)
            break;
        rc = round == ROUNDS ? give_up(job, differ, err)
                             : repair(job, differ, err);
        bm_bitmap_free(before);
        before = differ;
        differ = NULL;
    }
    job->result->verify_ms = bm_now_ms() - start;
    return rc;
}
