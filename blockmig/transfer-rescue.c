// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/transfer-parts.h"
#include "nbd/cleanup.h"
#include "nbd/rescue.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define PIECE ((size_t)256 << 10)

static void close_device(struct bm_device **dev)
{
    bm_device_close(*dev);
}

static int save(void *opaque, struct bm_error *err)
{
    struct bm_transfer_job *job = opaque;

    return bm_mapfile_save(job->map, job->how->mapfile, err);
}

static int progress(void *opaque, const struct bm_mapfile *map)
{
    return bm_transfer_tick(opaque, bm_mapfile_bytes(map, BM_AREA_FINISHED),
                            map->size);
}

/* --- from another copy --- */

static int fill_range(struct bm_transfer_job *job, struct bm_device *other,
                      uint64_t offset, uint64_t length, struct bm_error *err)
{
    struct bm_device *target = job->target;
    BM_FREE void *buf = aligned_alloc(BM_BUFFER_ALIGN, PIECE);
    int rc = buf ? 0 : bm_fail_errno(err, ENOMEM, "cannot fill");

    for (uint64_t at = 0; rc == 0 && at < length; at += PIECE) {
        size_t len = length - at < PIECE ? (size_t)(length - at) : PIECE;

        rc = bm_device_pread(other, 0, buf, len, offset + at, err);
        if (rc == 0)
            rc = bm_device_pwrite(target, 0, buf, len, offset + at, err);
        if (rc == 0)
            job->result->filled_bytes += len;
    }
    return rc;
}

/* The map tells afterwards which bytes are whose. */
static int note_filled(struct bm_transfer_job *job, uint64_t offset,
                       uint64_t length, struct bm_error *err)
{
    char key[64];

    snprintf(key, sizeof key, "filled 0x%08" PRIX64 " 0x%08" PRIX64, offset,
             length);
    if (bm_mapfile_note(job->map, key, job->how->fill_from) != 0)
        return bm_fail_errno(err, ENOMEM, "cannot save %s", job->how->mapfile);
    return 0;
}

static int fill(struct bm_transfer_job *job, struct bm_error *err)
{
    const struct bm_transfer_result *result = job->result;
    __attribute__((cleanup(close_device))) struct bm_device *other = NULL;
    struct bm_open how = {.share = job->how->share};
    int rc = bm_device_open(job->how->fill_from, &how, &other, err);

    if (rc == 0 && other->size < job->source->size) {
        bm_fail(err, EINVAL, "cannot fill from %s", other->name);
        return bm_cause(err, "it is shorter than %s", job->how->source);
    }
    for (size_t i = 0; rc == 0 && i < result->n_bad; i++) {
        rc = fill_range(job, other, result->bad[i].offset,
                        result->bad[i].length, err);
        if (rc == 0)
            rc = note_filled(job, result->bad[i].offset, result->bad[i].length,
                             err);
    }
    if (rc == 0)
        rc = bm_device_flush(job->target, err);
    return rc ? rc : save(job, err);
}

/* --- digests: of what is on the target now --- */

static int mark_unknown(struct bm_transfer_job *job, struct bm_error *err)
{
    const struct bm_transfer_result *result = job->result;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < result->n_bad; i++) {
        uint64_t first = result->bad[i].offset / BM_DIGEST_BLOCK;
        uint64_t last = (result->bad[i].offset + result->bad[i].length - 1) /
                        BM_DIGEST_BLOCK;

        rc =
            bm_manifest_set_unknown(job->digests, first, last - first + 1, err);
    }
    return rc;
}

static int hash_target(struct bm_transfer_job *job, struct bm_error *err)
{
    __attribute__((cleanup(close_device))) struct bm_device *dev = NULL;
    struct bm_bitmap *all = bm_bitmap_new(job->source->size, BM_DIGEST_BLOCK);
    struct bm_scan scan = {
        .only = all, .progress = bm_transfer_tick, .opaque = job};
    int rc = all ? 0 : bm_fail_errno(err, ENOMEM, "cannot hash");

    if (rc == 0) {
        bm_bitmap_set(all, 0, job->source->size);
        if (!job->target->local)
            bm_transfer_close_target(job);
        rc = bm_landing_read(&job->landing, job->how, &dev, err);
    }
    if (rc == 0) {
        job->phase = "hashing";
        job->result->medium = dev->medium;
        scan.device = dev;
        rc = bm_scan_hash(&scan, job->digests, err);
    }
    bm_bitmap_free(all);
    if (rc == 0 && !job->how->fill_from)
        rc = mark_unknown(job, err);
    return rc;
}

/* --- the whole --- */

static int list_bad(struct bm_transfer_job *job, struct bm_error *err)
{
    static const enum bm_area kinds[] = {BM_AREA_UNTRIED, BM_AREA_UNTRIMMED,
                                         BM_AREA_UNSCRAPED, BM_AREA_BAD};
    const struct bm_mapfile *map = job->map;

    for (size_t i = 0; i < map->n; i++) {
        uint64_t end = i + 1 < map->n ? map->areas[i + 1].offset : map->size;
        bool bad = false;

        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            bad |= map->areas[i].status == kinds[k];
        if (bad && bm_transfer_add_bad(job->result, map->areas[i].offset,
                                       end - map->areas[i].offset) != 0)
            return bm_fail_errno(err, ENOMEM, "cannot list what is bad");
    }
    return 0;
}

int bm_transfer_rescue(struct bm_transfer_job *job, struct bm_error *err)
{
    struct bm_rescue rescue = {.source = job->source,
                               .target = job->target,
                               .retries = job->how->retries,
                               .save = save,
                               .progress = progress,
                               .opaque = job};
    struct bm_rescue_result sum;
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
    if (rc == 0)
        rc = list_bad(job, err);
    if (rc == 0 && job->result->n_bad && job->how->fill_from)
        rc = fill(job, err);
    if (rc == 0 && job->digests)
        rc = hash_target(job, err);
    return rc;
}
