// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/replica/replica.h"

#include "blockmig/replica/replica-private.h"
#include "nbd/base/cleanup.h"
#include "nbd/copy/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

/* Of a guest at work. Few requests in flight is what spares it most (lab.md):
 * two lanes hurt it more than one that is twice as fast. */
#define LANES 1

static const char *const endings[] = {"done", "proven", "digests", "rest"};

static char *file_name(const char *dir, const char *id, const char *disk,
                       enum bm_stage_file which)
{
    char *name;

    return asprintf(&name, "%s/%s-%s.%s", dir, id, disk, endings[which]) < 0
               ? NULL
               : name;
}

void bm_stage_close(struct bm_stage *stage)
{
    if (!stage)
        return;
    for (int i = 0; i < BM_STAGE_FILES; i++)
        free(stage->files[i]);
    bm_bitmap_free(stage->done);
    bm_bitmap_free(stage->proven);
    bm_manifest_close(stage->digests);
    free(stage);
}

/* --- beginning, and going on --- */

static int begin(struct bm_stage *stage, struct bm_error *err)
{
    int rc = bm_stage_make(stage, err);

    if (rc)
        return rc;
    /* with a backing file it reads as that one does */
    stage->fresh =
        stage->how->image->type != BM_SOURCE_BLOCK && !stage->how->below;
    stage->done = bm_bitmap_new(stage->how->size, BM_DIGEST_BLOCK);
    stage->proven = bm_bitmap_new(stage->how->size, BM_DIGEST_BLOCK);
    if (!stage->done || !stage->proven)
        return bm_fail_errno(err, ENOMEM, "cannot copy disk %s",
                             stage->how->disk);
    rc = bm_manifest_new(stage->files[BM_STAGE_DIGESTS], NULL, bm_digest_sha256,
                         stage->how->size, &stage->digests, err);
    if (!rc)
        rc = bm_manifest_sync(stage->digests, err);
    if (!rc)
        rc = bm_bitmap_save(stage->proven, stage->files[BM_STAGE_PROVEN], err);
    /* the last one: it says that the others, and the image, are there */
    return rc ? rc : bm_stage_save(stage, err);
}

static int other_size(const struct bm_stage *stage, struct bm_error *err)
{
    bm_fail(err, EBADMSG, "cannot go on with the copy of disk %s",
            stage->how->disk);
    return bm_cause(err, "%s is of another size", stage->files[BM_STAGE_DONE]),
           -EBADMSG;
}

static int go_on(struct bm_stage *stage, struct bm_error *err)
{
    int rc = bm_bitmap_load(stage->files[BM_STAGE_DONE], &stage->done, err);

    if (!rc)
        rc = bm_bitmap_load(stage->files[BM_STAGE_PROVEN], &stage->proven, err);
    if (!rc && (bm_bitmap_size(stage->done) != stage->how->size ||
                bm_bitmap_size(stage->proven) != stage->how->size))
        return other_size(stage, err);
    if (!rc)
        rc =
            bm_manifest_reopen(stage->files[BM_STAGE_DIGESTS], bm_digest_sha256,
                               stage->how->size, &stage->digests, err);
    return rc;
}

int bm_stage_open(const struct bm_stage_how *how, struct bm_stage **out,
                  struct bm_error *err)
{
    struct bm_stage *stage = calloc(1, sizeof *stage);
    int rc = 0;

    if (!stage)
        return bm_fail_errno(err, ENOMEM, "cannot copy disk %s", how->disk);
    stage->how = how;
    for (int i = 0; !rc && i < BM_STAGE_FILES; i++) {
        stage->files[i] = file_name(how->dir, how->id, how->disk, i);
        if (!stage->files[i])
            rc = bm_fail_errno(err, ENOMEM, "cannot copy disk %s", how->disk);
    }
    if (!rc)
        rc = access(stage->files[BM_STAGE_DONE], F_OK) == 0 ? go_on(stage, err)
                                                            : begin(stage, err);
    if (rc)
        bm_stage_close(stage);
    else
        *out = stage;
    return rc;
}

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

int bm_stage_forget(const char *dir, const char *id, const char *disk,
                    struct bm_error *err)
{
    int rc = 0;

    for (int i = 0; !rc && i < BM_STAGE_FILES; i++) {
        BM_FREE char *name = file_name(dir, id, disk, i);

        if (!name)
            return bm_fail_errno(err, ENOMEM, "cannot tidy up after %s", id);
        if (unlink(name) != 0 && errno != ENOENT)
            rc = bm_fail_errno(err, errno, "cannot remove %s", name);
    }
    return rc;
}

/* --- the image --- */

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

/* --- copying --- */

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

/* What the uppermost layer of the view holds is to be done, and proven, again:
 * written down before any of it is. */
static int take_delta(struct bm_stage *stage, const struct bm_view *view,
                      struct bm_bitmap *only, struct bm_error *err)
{
    int rc = bm_view_dirty(view, only, err);

    if (!rc)
        rc = bm_stage_unmark(stage, only, err);
    if (!rc)
        rc = bm_bitmap_save(stage->proven, stage->files[BM_STAGE_PROVEN], err);
    return rc ? rc : bm_stage_save(stage, err);
}

static int take_rest(struct bm_stage *stage, struct bm_bitmap *only,
                     struct bm_error *err)
{
    bm_bitmap_invert(only);
    return bm_bitmap_subtract(only, stage->done, err);
}

static int take_own(struct bm_stage *stage, const struct bm_view *view,
                    struct bm_bitmap *only, struct bm_error *err)
{
    int rc = bm_view_dirty(view, only, err);

    return rc ? rc : bm_bitmap_subtract(only, stage->done, err);
}

static int check_size(struct bm_stage *stage, const struct bm_view *view,
                      struct bm_error *err)
{
    if (view->device->size == stage->how->size)
        return 0;
    bm_fail(err, ESTALE, "cannot copy disk %s", stage->how->disk);
    bm_cause(err, "it has %" PRIu64 " bytes and not %" PRIu64 " any more",
             view->device->size, stage->how->size);
    return -ESTALE;
}

int bm_stage_copy(struct bm_stage *stage, const struct bm_chain *chain,
                  enum bm_stage_part part, struct bm_error *err)
{
    BM_BITMAP *only = bm_bitmap_new(stage->how->size, BM_DIGEST_BLOCK);
    BM_VIEW view = {0};
    unsigned depth = part == BM_STAGE_ALL   ? 0
                     : part == BM_STAGE_OWN ? bm_stage_own(stage)
                                            : 1;
    int rc = only ? bm_view_open(chain, depth, &view, err)
                  : bm_fail_errno(err, ENOMEM, "cannot copy disk %s",
                                  stage->how->disk);

    if (!rc)
        rc = check_size(stage, &view, err);
    if (!rc && part == BM_STAGE_DELTA)
        rc = take_delta(stage, &view, only, err);
    else if (!rc && part == BM_STAGE_OWN)
        rc = take_own(stage, &view, only, err);
    else if (!rc)
        rc = take_rest(stage, only, err);
    if (rc || bm_bitmap_count(only) == 0)
        return rc;
    rc = part != BM_STAGE_DELTA && stage->how->map
             ? bm_stage_rescue(stage, &view, only, err)
             : bm_stage_copy_blocks(stage, &view, only, err);
    if (rc && stage->unread)
        return bm_stage_unread(stage, chain, view.device,
                               part != BM_STAGE_DELTA, err);
    return !rc && part == BM_STAGE_DELTA ? bm_stage_heal(stage, only, err) : rc;
}

int bm_stage_root(struct bm_stage *stage, char hex[BM_DIGEST_HEX],
                  struct bm_error *err)
{
    bool partial;

    return bm_manifest_root(stage->digests, hex, &partial, err);
}
