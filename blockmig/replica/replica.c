// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/replica/replica.h"

#include "blockmig/replica/replica-private.h"
#include "nbd/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

/* Of a guest at work. Few requests in flight is what spares it most (lab.md):
 * two lanes hurt it more than one that is twice as fast. */

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

/* --- copying --- */

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
