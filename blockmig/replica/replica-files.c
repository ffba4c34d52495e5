// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/replica/replica-private.h"

#include "nbd/copy/copy.h"

#include <errno.h>

#define LANES 1

int bm_stage_save(struct bm_stage *stage, struct bm_error *err)
{
    return bm_bitmap_save(stage->done, stage->files[BM_STAGE_DONE], err);
}

int bm_stage_unmark(struct bm_stage *stage, const struct bm_bitmap *what,
                    struct bm_error *err)
{
    int rc = bm_bitmap_subtract(stage->done, what, err);

    return rc ? rc : bm_bitmap_subtract(stage->proven, what, err);
}

static int open_either(const struct bm_layer *image, struct bm_open *how,
                       struct bm_device **out, struct bm_error *err)
{
    int rc;

    how->direct = true;
    rc = bm_device_open(image->path, how, out, err);
    if (rc != -EINVAL)
        return rc;
    how->direct = false; /* no O_DIRECT there: the proof will say "cache" */
    return bm_device_open(image->path, how, out, err);
}

/* The pace of a guest at work asks for small requests. */
static unsigned lanes(const struct bm_stage *stage)
{
    struct bm_throttle *throttle = stage->how->throttle;

    return throttle && bm_throttle_request(throttle) ? LANES : bm_view_lanes();
}

int bm_stage_write(struct bm_stage *stage, struct bm_device **out,
                   struct bm_error *err)
{
    struct bm_open how = {.format = stage->how->image->format,
                          .lanes = lanes(stage),
                          .write = true,
                          .zeroed = stage->fresh};

    return open_either(stage->how->image, &how, out, err);
}

int bm_stage_read(struct bm_stage *stage, struct bm_device **out,
                  struct bm_error *err)
{
    struct bm_open how = {.format = stage->how->image->format,
                          .lanes = lanes(stage)};

    return open_either(stage->how->image, &how, out, err);
}

/* As of struct bm_copy. */
static int checkpoint(void *opaque, const struct bm_bitmap *written,
                      struct bm_error *err)
{
    struct bm_stage *stage = opaque;

    return bm_bitmap_save(written, stage->files[BM_STAGE_DONE], err);
}

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct bm_stage *stage = opaque;
    const struct bm_stage_how *how = stage->how;

    stage->passed = done;
    return how->progress ? how->progress(how->opaque, done, total) : 0;
}

struct bm_scan bm_stage_scan(struct bm_stage *stage, struct bm_device *device,
                             const struct bm_bitmap *only)
{
    return (struct bm_scan){.device = device,
                            .only = only,
                            .throttle = stage->how->throttle,
                            .lanes = device->lanes,
                            .progress = on_progress,
                            .opaque = stage};
}

/* 0, or why it could not be made durable: then it is not the source that
 * failed. */
static int keep_written(struct bm_stage *stage, struct bm_device *target,
                        struct bm_error *err)
{
    struct bm_error why = BM_ERROR_INIT;
    int rc = bm_device_flush(target, &why);

    if (!rc)
        rc = bm_manifest_sync(stage->digests, &why);
    if (!rc)
        rc = bm_stage_save(stage, &why);
    if (rc) {
        stage->unread = 0;
        *err = why;
    }
    return rc;
}

int bm_stage_copy_blocks(struct bm_stage *stage, const struct bm_view *view,
                         const struct bm_bitmap *only, struct bm_error *err)
{
    struct bm_device *target = NULL;
    struct bm_copy copy = {.source = view->device,
                           .only = only,
                           .digests = stage->digests,
                           .written = stage->done,
                           .throttle = stage->how->throttle,
                           .checkpoint = checkpoint,
                           .progress = on_progress,
                           .opaque = stage};
    struct bm_copy_result sum;
    int rc = bm_stage_write(stage, &target, err);

    if (rc)
        return rc;
    copy.target = target;
    copy.lanes = target->lanes;
    rc = bm_copy_run(&copy, &sum, err);
    stage->unread_at = sum.unread_at;
    stage->unread = sum.unread;
    if (rc && sum.unread) { /* what was written counts: a rescue goes on */
        int kept = keep_written(stage, target, err);

        rc = kept ? kept : rc;
    }
    bm_device_close(target);
    stage->fresh = false;
    if (!rc)
        rc = bm_manifest_sync(stage->digests, err);
    return rc ? rc : bm_stage_save(stage, err);
}

int bm_stage_no_memory(const struct bm_stage *stage, struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot prove disk %s", stage->how->disk);
}

struct bm_bitmap *bm_stage_bitmap(const struct bm_stage *stage)
{
    return bm_bitmap_new(stage->how->size, BM_DIGEST_BLOCK);
}
