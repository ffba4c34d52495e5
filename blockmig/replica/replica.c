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

/* Of a guest at work. Few requests in flight is what spares it most
 * (docs/pitfalls.md P64): two queues hurt it more than one that is twice as
 * fast. */

static const char *const endings[] = {"done", "proven", "digests", "rest"};

static char *file_name(const char *dir, const char *id, const char *disk,
                       enum bm_replica_file which)
{
    char *name;

    return asprintf(&name, "%s/%s-%s.%s", dir, id, disk, endings[which]) < 0
               ? NULL
               : name;
}

void bm_replica_close(struct bm_replica *replica)
{
    if (!replica)
        return;
    for (int i = 0; i < BM_REPLICA_FILES; i++)
        free(replica->files[i]);
    bm_bitmap_free(replica->done);
    bm_bitmap_free(replica->proven);
    bm_manifest_close(replica->digests);
    free(replica);
}

/* --- beginning, and going on --- */

static int begin(struct bm_replica *replica, struct bm_error *err)
{
    int rc = bm_replica_make(replica, err);

    if (rc)
        return rc;
    /* with a backing file it reads as that one does */
    replica->fresh =
        replica->how->image->type != BM_SOURCE_BLOCK && !replica->how->below;
    replica->done = bm_bitmap_new(replica->how->size, BM_DIGEST_BLOCK);
    replica->proven = bm_bitmap_new(replica->how->size, BM_DIGEST_BLOCK);
    if (!replica->done || !replica->proven)
        return bm_fail_errno(err, ENOMEM, "cannot copy disk %s",
                             replica->how->disk);
    rc = bm_manifest_new(replica->files[BM_REPLICA_DIGESTS], NULL,
                         bm_digest_sha256, replica->how->size,
                         &replica->digests, err);
    if (!rc)
        rc = bm_manifest_sync(replica->digests, err);
    if (!rc)
        rc = bm_bitmap_save(replica->proven, replica->files[BM_REPLICA_PROVEN],
                            err);
    /* the last one: it says that the others, and the image, are there */
    return rc ? rc : bm_replica_save(replica, err);
}

static int other_size(const struct bm_replica *replica, struct bm_error *err)
{
    bm_fail(err, EBADMSG, "cannot go on with the copy of disk %s",
            replica->how->disk);
    return bm_cause(err, "%s is of another size",
                    replica->files[BM_REPLICA_DONE]),
           -EBADMSG;
}

static int go_on(struct bm_replica *replica, struct bm_error *err)
{
    int rc =
        bm_bitmap_load(replica->files[BM_REPLICA_DONE], &replica->done, err);

    if (!rc)
        rc = bm_bitmap_load(replica->files[BM_REPLICA_PROVEN], &replica->proven,
                            err);
    if (!rc && (bm_bitmap_size(replica->done) != replica->how->size ||
                bm_bitmap_size(replica->proven) != replica->how->size))
        return other_size(replica, err);
    if (!rc)
        rc = bm_manifest_reopen(replica->files[BM_REPLICA_DIGESTS],
                                bm_digest_sha256, replica->how->size,
                                &replica->digests, err);
    return rc;
}

int bm_replica_open(const struct bm_replica_how *how, struct bm_replica **out,
                    struct bm_error *err)
{
    struct bm_replica *replica = calloc(1, sizeof *replica);
    int rc = 0;

    if (!replica)
        return bm_fail_errno(err, ENOMEM, "cannot copy disk %s", how->disk);
    replica->how = how;
    for (int i = 0; !rc && i < BM_REPLICA_FILES; i++) {
        replica->files[i] = file_name(how->dir, how->id, how->disk, i);
        if (!replica->files[i])
            rc = bm_fail_errno(err, ENOMEM, "cannot copy disk %s", how->disk);
    }
    if (!rc)
        rc = access(replica->files[BM_REPLICA_DONE], F_OK) == 0
                 ? go_on(replica, err)
                 : begin(replica, err);
    if (rc)
        bm_replica_close(replica);
    else
        *out = replica;
    return rc;
}

int bm_replica_forget(const char *dir, const char *id, const char *disk,
                      struct bm_error *err)
{
    int rc = 0;

    for (int i = 0; !rc && i < BM_REPLICA_FILES; i++) {
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
static int take_delta(struct bm_replica *replica,
                      const struct bm_frozen_chain *view,
                      struct bm_bitmap *only, struct bm_error *err)
{
    int rc = bm_frozen_chain_dirty(view, only, err);

    if (!rc)
        rc = bm_replica_unmark(replica, only, err);
    if (!rc)
        rc = bm_bitmap_save(replica->proven, replica->files[BM_REPLICA_PROVEN],
                            err);
    return rc ? rc : bm_replica_save(replica, err);
}

static int take_rest(struct bm_replica *replica, struct bm_bitmap *only,
                     struct bm_error *err)
{
    bm_bitmap_invert(only);
    return bm_bitmap_subtract(only, replica->done, err);
}

static int take_own(struct bm_replica *replica,
                    const struct bm_frozen_chain *view, struct bm_bitmap *only,
                    struct bm_error *err)
{
    int rc = bm_frozen_chain_dirty(view, only, err);

    return rc ? rc : bm_bitmap_subtract(only, replica->done, err);
}

static int check_size(struct bm_replica *replica,
                      const struct bm_frozen_chain *view, struct bm_error *err)
{
    if (view->device->size == replica->how->size)
        return 0;
    bm_fail(err, ESTALE, "cannot copy disk %s", replica->how->disk);
    bm_cause(err, "it has %" PRIu64 " bytes and not %" PRIu64 " any more",
             view->device->size, replica->how->size);
    return -ESTALE;
}

int bm_replica_copy(struct bm_replica *replica, const struct bm_chain *chain,
                    enum bm_replica_part part, struct bm_error *err)
{
    BM_BITMAP *only = bm_bitmap_new(replica->how->size, BM_DIGEST_BLOCK);
    BM_FROZEN_CHAIN view = {0};
    unsigned depth = part == BM_REPLICA_ALL   ? 0
                     : part == BM_REPLICA_OWN ? bm_replica_own(replica)
                                              : 1;
    int rc = only ? bm_frozen_chain_open(chain, depth, &view, err)
                  : bm_fail_errno(err, ENOMEM, "cannot copy disk %s",
                                  replica->how->disk);

    if (!rc)
        rc = check_size(replica, &view, err);
    if (!rc && part == BM_REPLICA_DELTA)
        rc = take_delta(replica, &view, only, err);
    else if (!rc && part == BM_REPLICA_OWN)
        rc = take_own(replica, &view, only, err);
    else if (!rc)
        rc = take_rest(replica, only, err);
    if (rc || bm_bitmap_count(only) == 0)
        return rc;
    rc = part != BM_REPLICA_DELTA && replica->how->map
             ? bm_replica_rescue(replica, &view, only, err)
             : bm_replica_copy_blocks(replica, &view, only, err);
    if (rc && replica->unread)
        return bm_replica_unread(replica, chain, view.device,
                                 part != BM_REPLICA_DELTA, err);
    return !rc && part == BM_REPLICA_DELTA ? bm_replica_heal(replica, only, err)
                                           : rc;
}

int bm_replica_root(struct bm_replica *replica, char hex[BM_DIGEST_HEX],
                    struct bm_error *err)
{
    bool partial;

    return bm_manifest_root(replica->digests, hex, &partial, err);
}
