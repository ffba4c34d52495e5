// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/replica/replica-private.h"

#include "nbd/copy/copy.h"

#include <errno.h>

#define LANES 1

int bm_replica_save(struct bm_replica *replica, struct bm_error *err)
{
    return bm_bitmap_save(replica->done, replica->files[BM_REPLICA_DONE], err);
}

int bm_replica_unmark(struct bm_replica *replica, const struct bm_bitmap *what,
                      struct bm_error *err)
{
    int rc = bm_bitmap_subtract(replica->done, what, err);

    return rc ? rc : bm_bitmap_subtract(replica->proven, what, err);
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
static unsigned queues(const struct bm_replica *replica)
{
    struct bm_rate_limit *rate_limit = replica->how->rate_limit;

    return rate_limit && bm_rate_limit_request(rate_limit)
               ? LANES
               : bm_frozen_chain_queues();
}

int bm_replica_write(struct bm_replica *replica, struct bm_device **out,
                     struct bm_error *err)
{
    struct bm_open how = {.format = replica->how->image->format,
                          .queues = queues(replica),
                          .write = true,
                          .zeroed = replica->fresh};

    return open_either(replica->how->image, &how, out, err);
}

int bm_replica_read(struct bm_replica *replica, struct bm_device **out,
                    struct bm_error *err)
{
    struct bm_open how = {.format = replica->how->image->format,
                          .queues = queues(replica)};

    return open_either(replica->how->image, &how, out, err);
}

/* As of struct bm_copy. */
static int checkpoint(void *opaque, const struct bm_bitmap *written,
                      struct bm_error *err)
{
    struct bm_replica *replica = opaque;

    return bm_bitmap_save(written, replica->files[BM_REPLICA_DONE], err);
}

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct bm_replica *replica = opaque;
    const struct bm_replica_how *how = replica->how;

    replica->passed = done;
    return how->progress ? how->progress(how->opaque, done, total) : 0;
}

struct bm_scan bm_replica_scan(struct bm_replica *replica,
                               struct bm_device *device,
                               const struct bm_bitmap *only)
{
    return (struct bm_scan){.device = device,
                            .only = only,
                            .rate_limit = replica->how->rate_limit,
                            .queues = device->queues,
                            .progress = on_progress,
                            .opaque = replica};
}

/* 0, or why it could not be made durable: then it is not the source that
 * failed. */
static int keep_written(struct bm_replica *replica, struct bm_device *target,
                        struct bm_error *err)
{
    struct bm_error why = BM_ERROR_INIT;
    int rc = bm_device_flush(target, &why);

    if (!rc)
        rc = bm_manifest_sync(replica->digests, &why);
    if (!rc)
        rc = bm_replica_save(replica, &why);
    if (rc) {
        replica->unread = 0;
        *err = why;
    }
    return rc;
}

int bm_replica_copy_blocks(struct bm_replica *replica,
                           const struct bm_frozen_chain *view,
                           const struct bm_bitmap *only, struct bm_error *err)
{
    struct bm_device *target = NULL;
    struct bm_copy copy = {.source = view->device,
                           .only = only,
                           .digests = replica->digests,
                           .written = replica->done,
                           .rate_limit = replica->how->rate_limit,
                           .checkpoint = checkpoint,
                           .progress = on_progress,
                           .opaque = replica};
    struct bm_copy_result sum;
    int rc = bm_replica_write(replica, &target, err);

    if (rc)
        return rc;
    copy.target = target;
    copy.queues = target->queues;
    rc = bm_copy_run(&copy, &sum, err);
    replica->unread_at = sum.unread_at;
    replica->unread = sum.unread;
    if (rc && sum.unread) { /* what was written counts: a rescue goes on */
        int kept = keep_written(replica, target, err);

        rc = kept ? kept : rc;
    }
    bm_device_close(target);
    replica->fresh = false;
    if (!rc)
        rc = bm_manifest_sync(replica->digests, err);
    return rc ? rc : bm_replica_save(replica, err);
}

int bm_replica_no_memory(const struct bm_replica *replica, struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot prove disk %s",
                         replica->how->disk);
}

struct bm_bitmap *bm_replica_bitmap(const struct bm_replica *replica)
{
    return bm_bitmap_new(replica->how->size, BM_DIGEST_BLOCK);
}
