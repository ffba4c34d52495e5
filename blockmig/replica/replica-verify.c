// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/replica/replica-private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define ROUNDS 3 /* the first look, and one after each of two repairs */

/* --- what was written, read back --- */

/* Done, and not proven. */
static int find_todo(const struct bm_replica *replica, struct bm_bitmap *todo,
                     struct bm_error *err)
{
    int rc = bm_bitmap_merge(todo, replica->done, err);

    return rc ? rc : bm_bitmap_subtract(todo, replica->proven, err);
}

/* What differs is neither proven nor even done. */
static int undo(struct bm_replica *replica, const struct bm_bitmap *differ,
                struct bm_error *err)
{
    int rc = bm_replica_unmark(replica, differ, err);

    if (!rc && bm_bitmap_count(differ))
        rc = bm_replica_save(replica, err);
    return rc ? rc
              : bm_bitmap_save(replica->proven,
                               replica->files[BM_REPLICA_PROVEN], err);
}

/* All of `todo` but `differ` is proven. */
static int note(struct bm_replica *replica, const struct bm_bitmap *todo,
                const struct bm_bitmap *differ, struct bm_error *err)
{
    int rc = bm_bitmap_merge(replica->proven, todo, err);

    return rc ? rc : undo(replica, differ, err);
}

static int look(struct bm_replica *replica, const struct bm_bitmap *todo,
                struct bm_bitmap *differ, struct bm_replica_proof *proof,
                struct bm_error *err)
{
    struct bm_device *image = NULL;
    struct bm_scan scan;
    int rc = bm_replica_read(replica, &image, err);

    if (rc)
        return rc;
    scan = bm_replica_scan(replica, image, todo);
    rc = bm_scan_check(&scan, replica->digests, differ, err);
    proof->medium = image->medium;
    proof->bytes += bm_bitmap_count(todo);
    bm_device_close(image);
    return rc ? rc : note(replica, todo, differ, err);
}

int bm_replica_failed(const struct bm_replica *replica,
                      const struct bm_bitmap *differ, const char *path,
                      const char *why, struct bm_error *err)
{
    uint64_t at = 0, length = 0;

    bm_bitmap_next(differ, false, 0, replica->how->size, &at, &length);
    bm_fail(err, EBADMSG, "the proof of disk %s failed", replica->how->disk);
    bm_cause(err,
             "%" PRIu64 " bytes of %s, the first %" PRIu64 " at offset %" PRIu64
             ", %s",
             bm_bitmap_count(differ), path, length, at, why);
    return bm_status(err, BM_EXIT_PROOF), -EBADMSG;
}

static int repair(struct bm_replica *replica, const struct bm_chain *chain,
                  const struct bm_bitmap *differ,
                  struct bm_replica_proof *proof, struct bm_error *err)
{
    uint64_t at = 0, length;
    BM_FROZEN_CHAIN view = {0};
    int rc = bm_frozen_chain_open(chain, 0, &view, err);

    if (!proof->repaired &&
        bm_bitmap_next(differ, false, 0, replica->how->size, &at, &length))
        proof->repaired_at = at;
    proof->repaired += bm_bitmap_count(differ);
    if (!rc)
        rc = bm_replica_copy_blocks(replica, &view, differ, err);
    return rc && replica->unread
               ? bm_replica_unread(replica, chain, view.device, true, err)
               : rc;
}

int bm_replica_prove(struct bm_replica *replica, const struct bm_chain *view,
                     struct bm_replica_proof *proof, struct bm_error *err)
{
    for (int round = 1;; round++) {
        BM_BITMAP *todo = bm_replica_bitmap(replica),
                  *differ = bm_replica_bitmap(replica);
        int rc;

        if (!todo || !differ)
            return bm_replica_no_memory(replica, err);
        rc = find_todo(replica, todo, err);
        if (rc || bm_bitmap_count(todo) == 0)
            return rc;
        rc = look(replica, todo, differ, proof, err);
        if (rc || bm_bitmap_count(differ) == 0)
            return rc;
        if (round == ROUNDS)
            return bm_replica_failed(
                replica, differ, replica->how->image->path,
                "do not read back as they were written, though "
                "written three times",
                err);
        rc = repair(replica, view, differ, proof, err);
        if (rc)
            return rc;
    }
}

int bm_replica_doubt(struct bm_replica *replica, struct bm_error *err)
{
    bm_bitmap_clear(replica->proven, 0, replica->how->size);
    return bm_bitmap_save(replica->proven, replica->files[BM_REPLICA_PROVEN],
                          err);
}

int bm_replica_recheck(struct bm_replica *replica, const struct bm_chain *chain,
                       struct bm_error *err)
{
    BM_BITMAP *differ = bm_replica_bitmap(replica);
    BM_FROZEN_CHAIN view = {0};
    struct bm_scan scan;
    int rc = differ ? 0 : bm_replica_no_memory(replica, err);

    if (rc || bm_bitmap_count(replica->done) == 0)
        return rc;
    rc = bm_frozen_chain_open(chain, 0, &view, err);
    if (rc)
        return rc;
    scan = bm_replica_scan(replica, view.device, replica->done);
    rc = bm_scan_check(&scan, replica->digests, differ, err);
    return rc ? rc : undo(replica, differ, err);
}

/* --- after the switch --- */

/* Sets in `gaps` the blocks that a rescue could not read whole. */
static int find_gaps(const struct bm_replica *replica, struct bm_bitmap *gaps,
                     struct bm_error *err)
{
    if (!bm_replica_has_map(replica))
        return 0;
    bm_bitmap_invert(gaps);
    return bm_bitmap_subtract(gaps, replica->done, err);
}

/* What either view's uppermost layer holds: of the old one that heals gaps;
 * with what is still one nothing can be compared. */
static int find_rest(struct bm_replica *replica,
                     const struct bm_frozen_chain *old,
                     const struct bm_frozen_chain *new, struct bm_bitmap *rest,
                     struct bm_bitmap *gaps, struct bm_error *err)
{
    int rc = bm_frozen_chain_dirty(old, rest, err);

    if (!rc)
        rc = bm_replica_heal(replica, rest, err);
    if (!rc)
        rc = find_gaps(replica, gaps, err);
    if (!rc)
        rc = bm_frozen_chain_dirty(new, rest, err);
    if (!rc)
        rc = bm_bitmap_subtract(rest, gaps, err);
    return rc ? rc : bm_bitmap_save(rest, replica->files[BM_REPLICA_REST], err);
}

static int compare(struct bm_replica *replica,
                   const struct bm_frozen_chain *view,
                   const struct bm_bitmap *rest, const char *path,
                   const char *why, struct bm_error *err)
{
    BM_BITMAP *differ = bm_replica_bitmap(replica);
    struct bm_scan scan = bm_replica_scan(replica, view->device, rest);
    int rc = differ ? bm_scan_check(&scan, replica->digests, differ, err)
                    : bm_replica_no_memory(replica, err);

    if (!rc && bm_bitmap_count(differ))
        rc = bm_replica_failed(replica, differ, path, why, err);
    return rc;
}

/* For the digest of the new image. */
static int hash_blocks(struct bm_replica *replica,
                       const struct bm_frozen_chain *view,
                       const struct bm_bitmap *blocks, struct bm_error *err)
{
    struct bm_scan scan = bm_replica_scan(replica, view->device, blocks);
    int rc = bm_scan_hash(&scan, replica->digests, err);

    return rc ? rc : bm_manifest_sync(replica->digests, err);
}

int bm_replica_rest(struct bm_replica *replica, const struct bm_chain *old,
                    const struct bm_chain *new, struct bm_replica_proof *proof,
                    struct bm_error *err)
{
    BM_BITMAP *rest = bm_replica_bitmap(replica),
              *gaps = bm_replica_bitmap(replica);
    BM_FROZEN_CHAIN old_view = {0}, new_view = {0};
    int rc = rest && gaps ? bm_frozen_chain_open(old, 1, &old_view, err)
                          : bm_replica_no_memory(replica, err);

    if (!rc)
        rc = bm_frozen_chain_open(new, 1, &new_view, err);
    if (!rc)
        rc = find_rest(replica, &old_view, &new_view, rest, gaps, err);
    if (!rc)
        rc = hash_blocks(replica, &old_view, rest, err);
    if (!rc)
        rc = compare(replica, &new_view, rest, new->layers[0].path,
                     "are not as on the old image", err);
    if (!rc)
        rc = hash_blocks(replica, &new_view, gaps, err);
    if (rc)
        return rc;
    proof->bytes += bm_bitmap_count(rest);
    proof->medium = new_view.device->medium;
    return 0;
}

int bm_replica_again(struct bm_replica *replica, const struct bm_chain *image,
                     struct bm_error *err)
{
    BM_BITMAP *rest = NULL;
    BM_FROZEN_CHAIN view = {0};
    int rc = bm_bitmap_load(replica->files[BM_REPLICA_REST], &rest, err);

    if (!rc)
        rc = bm_frozen_chain_open(image, 0, &view, err);
    return rc ? rc
              : compare(replica, &view, rest, image->layers[0].path,
                        "are not as on the old image", err);
}

int bm_replica_equal(struct bm_replica *replica, const struct bm_chain *old,
                     const struct bm_chain *new, struct bm_replica_proof *proof,
                     struct bm_error *err)
{
    BM_FROZEN_CHAIN old_view = {0}, new_view = {0};
    int rc = bm_frozen_chain_open(old, 0, &old_view, err);

    if (!rc)
        rc = bm_frozen_chain_open(new, 0, &new_view, err);
    if (!rc)
        rc = compare(replica, &old_view, replica->done, old->layers[0].path,
                     "are not as they were when they were copied", err);
    if (!rc)
        rc = compare(replica, &new_view, replica->done, new->layers[0].path,
                     "are not as on the old image", err);
    if (rc)
        return rc;
    proof->bytes += bm_bitmap_count(replica->done);
    proof->medium = new_view.device->medium;
    return 0;
}
