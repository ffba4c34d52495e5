// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/bad-areas.h"
#include "blockmig/imagecopy/image-copy-private.h"
#include "nbd/rescue/rescue.h"

#include <errno.h>

static void close_device(struct bm_device **dev)
{
    bm_device_close(*dev);
}

static int save(void *opaque, struct bm_error *err)
{
    struct bm_image_copy_job *job = opaque;

    return bm_mapfile_save(job->map, job->how->mapfile, err);
}

static int progress(void *opaque, const struct bm_mapfile *map)
{
    return bm_image_copy_tick(opaque, bm_mapfile_bytes(map, BM_AREA_FINISHED),
                              map->size);
}

/* --- digests: of what is on the target now --- */

static int mark_unknown(struct bm_image_copy_job *job,
                        const struct bm_bad_areas *bad, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < bad->n; i++) {
        const struct bm_range *range = &bad->ranges[i];
        uint64_t first = range->offset / BM_DIGEST_BLOCK;
        uint64_t last = (range->offset + range->length - 1) / BM_DIGEST_BLOCK;

        if (!bad->filled[i])
            rc = bm_manifest_set_unknown(job->digests, first, last - first + 1,
                                         err);
    }
    return rc;
}

static int hash_target(struct bm_image_copy_job *job,
                       const struct bm_bad_areas *bad, struct bm_error *err)
{
    __attribute__((cleanup(close_device))) struct bm_device *dev = NULL;
    struct bm_bitmap *all = bm_bitmap_new(job->source->size, BM_DIGEST_BLOCK);
    struct bm_scan scan = {
        .only = all, .progress = bm_image_copy_tick, .opaque = job};
    int rc = all ? 0 : bm_fail_errno(err, ENOMEM, "cannot hash");

    if (rc == 0) {
        bm_bitmap_set(all, 0, job->source->size);
        if (!job->target->local)
            bm_image_copy_close_target(job);
        rc = bm_destination_read(&job->destination, job->how, &dev, err);
    }
    if (rc == 0) {
        job->phase = "hashing";
        job->result->medium = dev->medium;
        scan.device = dev;
        rc = bm_scan_hash(&scan, job->digests, err);
    }
    bm_bitmap_free(all);
    return rc ? rc : mark_unknown(job, bad, err);
}

/* --- the whole --- */

static int fill(struct bm_image_copy_job *job, struct bm_error *err)
{
    int rc = bm_bad_areas_fill(job->map, job->target, job->how->fill_from,
                               job->how->share, err);

    return rc ? rc : save(job, err);
}

static int list_bad(struct bm_image_copy_job *job, struct bm_bad_areas *bad,
                    struct bm_error *err)
{
    int rc = bm_bad_areas_list(job->map, bad);

    for (size_t i = 0; rc == 0 && i < bad->n; i++)
        if (!bad->filled[i])
            rc = bm_image_copy_add_bad(job->result, bad->ranges[i].offset,
                                       bad->ranges[i].length);
    job->result->filled_bytes = bad->filled_bytes;
    return rc ? bm_fail_errno(err, ENOMEM, "cannot list what is bad") : 0;
}

int bm_image_copy_rescue(struct bm_image_copy_job *job, struct bm_error *err)
{
    struct bm_rescue rescue = {.source = job->source,
                               .target = job->target,
                               .retries = job->how->retries,
                               .save = save,
                               .progress = progress,
                               .opaque = job};
    struct bm_rescue_result sum;
    BM_BAD_AREAS bad = {0};
    int rc;

    if (!job->map) /* else it was there: ours, or ddrescue's */
        job->map = bm_mapfile_new(job->source->size);
    if (!job->map)
        return bm_fail_errno(err, ENOMEM, "cannot rescue %s", job->how->source);
    if (bm_mapfile_note(job->map, "part", job->target_id) != 0)
        return bm_fail_errno(err, ENOMEM, "cannot rescue %s", job->how->source);
    job->phase = "rescuing";
    job->started = true;
    rescue.map = job->map;
    rc = bm_rescue_run(&rescue, &sum, err);
    job->result->data = sum.rescued;
    if (rc == 0 && sum.bad && job->how->fill_from)
        rc = fill(job, err);
    if (rc == 0)
        rc = list_bad(job, &bad, err);
    if (rc == 0 && job->digests)
        rc = hash_target(job, &bad, err);
    return rc;
}
