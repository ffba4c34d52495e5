// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/replica/replica-private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define ROUNDS 3 /* the first look, and one after each of two repairs */

/* --- what was written, read back --- */

/* Done, and not proven. */
static int find_todo(const struct bm_stage *stage, struct bm_bitmap *todo,
                     struct bm_error *err)
{
    int rc = bm_bitmap_merge(todo, stage->done, err);

    return rc ? rc : bm_bitmap_subtract(todo, stage->proven, err);
}

/* What differs is neither proven nor even done. */
static int undo(struct bm_stage *stage, const struct bm_bitmap *differ,
                struct bm_error *err)
{
    int rc = bm_stage_unmark(stage, differ, err);

    if (!rc && bm_bitmap_count(differ))
        rc = bm_stage_save(stage, err);
    return rc ? rc
              : bm_bitmap_save(stage->proven, stage->files[BM_STAGE_PROVEN],
                               err);
}

/* All of `todo` but `differ` is proven. */
static int note(struct bm_stage *stage, const struct bm_bitmap *todo,
                const struct bm_bitmap *differ, struct bm_error *err)
{
    int rc = bm_bitmap_merge(stage->proven, todo, err);

    return rc ? rc : undo(stage, differ, err);
}

static int look(struct bm_stage *stage, const struct bm_bitmap *todo,
                struct bm_bitmap *differ, struct bm_stage_proof *proof,
                struct bm_error *err)
{
    struct bm_device *image = NULL;
    struct bm_scan scan;
    int rc = bm_stage_read(stage, &image, err);

    if (rc)
        return rc;
    scan = bm_stage_scan(stage, image, todo);
    rc = bm_scan_check(&scan, stage->digests, differ, err);
    proof->medium = image->medium;
    proof->bytes += bm_bitmap_count(todo);
    bm_device_close(image);
    return rc ? rc : note(stage, todo, differ, err);
}

int bm_stage_failed(const struct bm_stage *stage,
                    const struct bm_bitmap *differ, const char *path,
                    const char *why, struct bm_error *err)
{
    uint64_t at = 0, length = 0;

    bm_bitmap_next(differ, false, 0, stage->how->size, &at, &length);
    bm_fail(err, EBADMSG, "the proof of disk %s failed", stage->how->disk);
    bm_cause(err,
             "%" PRIu64 " bytes of %s, the first %" PRIu64 " at offset %" PRIu64
             ", %s",
             bm_bitmap_count(differ), path, length, at, why);
    return bm_status(err, BM_EXIT_PROOF), -EBADMSG;
}

static int repair(struct bm_stage *stage, const struct bm_chain *chain,
                  const struct bm_bitmap *differ, struct bm_stage_proof *proof,
                  struct bm_error *err)
{
    uint64_t at = 0, length;
    BM_VIEW view = {0};
    int rc = bm_view_open(chain, 0, &view, err);

    if (!proof->repaired &&
        bm_bitmap_next(differ, false, 0, stage->how->size, &at, &length))
        proof->repaired_at = at;
    proof->repaired += bm_bitmap_count(differ);
    if (!rc)
        rc = bm_stage_copy_blocks(stage, &view, differ, err);
    return rc && stage->unread
               ? bm_stage_unread(stage, chain, view.device, true, err)
               : rc;
}

int bm_stage_prove(struct bm_stage *stage, const struct bm_chain *view,
                   struct bm_stage_proof *proof, struct bm_error *err)
{
    for (int round = 1;; round++) {
        BM_BITMAP *todo = bm_stage_bitmap(stage),
                  *differ = bm_stage_bitmap(stage);
        int rc;

        if (!todo || !differ)
            return bm_stage_no_memory(stage, err);
        rc = find_todo(stage, todo, err);
        if (rc || bm_bitmap_count(todo) == 0)
            return rc;
        rc = look(stage, todo, differ, proof, err);
        if (rc || bm_bitmap_count(differ) == 0)
            return rc;
        if (round == ROUNDS)
            return bm_stage_failed(
                stage, differ, stage->how->image->path,
                "do not read back as they were written, though "
                "written three times",
                err);
        rc = repair(stage, view, differ, proof, err);
        if (rc)
            return rc;
    }
}

int bm_stage_doubt(struct bm_stage *stage, struct bm_error *err)
{
    bm_bitmap_clear(stage->proven, 0, stage->how->size);
    return bm_bitmap_save(stage->proven, stage->files[BM_STAGE_PROVEN], err);
}

int bm_stage_recheck(struct bm_stage *stage, const struct bm_chain *chain,
                     struct bm_error *err)
{
    BM_BITMAP *differ = bm_stage_bitmap(stage);
    BM_VIEW view = {0};
    struct bm_scan scan;
    int rc = differ ? 0 : bm_stage_no_memory(stage, err);

    if (rc || bm_bitmap_count(stage->done) == 0)
        return rc;
    rc = bm_view_open(chain, 0, &view, err);
    if (rc)
        return rc;
    scan = bm_stage_scan(stage, view.device, stage->done);
    rc = bm_scan_check(&scan, stage->digests, differ, err);
    return rc ? rc : undo(stage, differ, err);
}

/* --- after the switch --- */

/* Sets in `gaps` the blocks that a rescue could not read whole. */
static int find_gaps(const struct bm_stage *stage, struct bm_bitmap *gaps,
                     struct bm_error *err)
{
    if (!bm_stage_has_map(stage))
        return 0;
    bm_bitmap_invert(gaps);
    return bm_bitmap_subtract(gaps, stage->done, err);
}

/* What either view's uppermost layer holds: of the old one that heals gaps;
 * with what is still one nothing can be compared. */
static int find_rest(struct bm_stage *stage, const struct bm_view *old,
                     const struct bm_view *new, struct bm_bitmap *rest,
                     struct bm_bitmap *gaps, struct bm_error *err)
{
    int rc = bm_view_dirty(old, rest, err);

    if (!rc)
        rc = bm_stage_heal(stage, rest, err);
    if (!rc)
        rc = find_gaps(stage, gaps, err);
    if (!rc)
        rc = bm_view_dirty(new, rest, err);
    if (!rc)
        rc = bm_bitmap_subtract(rest, gaps, err);
    return rc ? rc : bm_bitmap_save(rest, stage->files[BM_STAGE_REST], err);
}

static int compare(struct bm_stage *stage, const struct bm_view *view,
                   const struct bm_bitmap *rest, const char *path,
                   const char *why, struct bm_error *err)
{
    BM_BITMAP *differ = bm_stage_bitmap(stage);
    struct bm_scan scan = bm_stage_scan(stage, view->device, rest);
    int rc = differ ? bm_scan_check(&scan, stage->digests, differ, err)
                    : bm_stage_no_memory(stage, err);

    if (!rc && bm_bitmap_count(differ))
        rc = bm_stage_failed(stage, differ, path, why, err);
    return rc;
}

/* For the digest of the new image. */
static int hash_blocks(struct bm_stage *stage, const struct bm_view *view,
                       const struct bm_bitmap *blocks, struct bm_error *err)
{
    struct bm_scan scan = bm_stage_scan(stage, view->device, blocks);
    int rc = bm_scan_hash(&scan, stage->digests, err);

    return rc ? rc : bm_manifest_sync(stage->digests, err);
}

int bm_stage_rest(struct bm_stage *stage, const struct bm_chain *old,
                  const struct bm_chain *new, struct bm_stage_proof *proof,
                  struct bm_error *err)
{
    BM_BITMAP *rest = bm_stage_bitmap(stage), *gaps = bm_stage_bitmap(stage);
    BM_VIEW old_view = {0}, new_view = {0};
    int rc = rest && gaps ? bm_view_open(old, 1, &old_view, err)
                          : bm_stage_no_memory(stage, err);

    if (!rc)
        rc = bm_view_open(new, 1, &new_view, err);
    if (!rc)
        rc = find_rest(stage, &old_view, &new_view, rest, gaps, err);
    if (!rc)
        rc = hash_blocks(stage, &old_view, rest, err);
    if (!rc)
        rc = compare(stage, &new_view, rest, new->layers[0].path,
                     "are not as on the old image", err);
    if (!rc)
        rc = hash_blocks(stage, &new_view, gaps, err);
    if (rc)
        return rc;
    proof->bytes += bm_bitmap_count(rest);
    proof->medium = new_view.device->medium;
    return rc;
}

int bm_stage_again(struct bm_stage *stage, const struct bm_chain *image,
                   struct bm_error *err)
{
    BM_BITMAP *rest = NULL;
    BM_VIEW view = {0};
    int rc = bm_bitmap_load(stage->files[BM_STAGE_REST], &rest, err);

    if (!rc)
        rc = bm_view_open(image, 0, &view, err);
    return rc ? rc
              : compare(stage, &view, rest, image->layers[0].path,
                        "are not as on the old image", err);
}

int bm_stage_equal(struct bm_stage *stage, const struct bm_chain *old,
                   const struct bm_chain *new, struct bm_stage_proof *proof,
                   struct bm_error *err)
{
    BM_VIEW old_view = {0}, new_view = {0};
    int rc = bm_view_open(old, 0, &old_view, err);

    if (!rc)
        rc = bm_view_open(new, 0, &new_view, err);
    if (!rc)
        rc = compare(stage, &old_view, stage->done, old->layers[0].path,
                     "are not as they were when they were copied", err);
    if (!rc)
        rc = compare(stage, &new_view, stage->done, new->layers[0].path,
                     "are not as on the old image", err);
    if (rc)
        return rc;
    proof->bytes += bm_bitmap_count(stage->done);
    proof->medium = new_view.device->medium;
    return 0;
}
