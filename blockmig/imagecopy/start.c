// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/file-identity.h"
#include "blockmig/imagecopy/image-copy-private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static bool wants_digests(const struct bm_image_copy *t)
{
    return t->verify || t->manifest;
}

struct bm_image_copy_identity
bm_image_copy_identity_of(const struct bm_image_copy_job *job)
{
    return (struct bm_image_copy_identity){
        .source = job->how->source,
        .target = job->how->target,
        .source_id = job->source_id,
        .target_id = job->target_id,
        .format = job->destination.format,
        .source_format =
            job->how->source_format ? job->how->source_format : "probed",
        .digest = wants_digests(job->how) ? job->how->digest->name : "none",
        .size = job->source->size,
    };
}

/* --- the target --- */

int bm_image_copy_open_target(struct bm_image_copy_job *job,
                              struct bm_error *err)
{
    int rc = bm_destination_write(&job->destination, job->how, job->fresh,
                                  &job->target, err);

    if (rc)
        return rc;
    if (job->target->size < job->source->size) {
        bm_fail(err, ENOSPC, "cannot copy %s to %s", job->how->source,
                job->how->target);
        bm_cause(err, "the target has %llu bytes and needs %llu",
                 (unsigned long long)job->target->size,
                 (unsigned long long)job->source->size);
        return bm_status(err, BM_EXIT_REFUSED);
    }
    free(job->target_id);
    job->target_id =
        bm_identity_of_place(job->destination.part, job->target->size, err);
    if (!job->target_id)
        return -err->code;
    return job->how->share
               ? 0
               : bm_destination_unwritten(&job->destination, job->how->source,
                                          job->how->source_format, err);
}

void bm_image_copy_close_target(struct bm_image_copy_job *job)
{
    bm_device_close(job->target);
    job->target = NULL;
}

/* --- going on with an earlier run --- */

/* What is not done yet, in todo. */
static int plan_rest(struct bm_image_copy_job *job, struct bm_error *err)
{
    job->todo = bm_bitmap_new(job->source->size, BM_DIGEST_BLOCK);
    if (!job->todo)
        return bm_fail_errno(err, ENOMEM, "cannot copy %s", job->how->source);
    bm_bitmap_invert(job->todo);
    job->result->kept = bm_bitmap_count(job->done);
    return bm_bitmap_subtract(job->todo, job->done, err);
}

/* A raw file that grew would be given its name with what follows the end. */
static int check_part(const struct bm_image_copy_job *job, struct bm_error *err)
{
    if (job->destination.kind != BM_DESTINATION_FILE || !job->target->local ||
        job->target->size == job->source->size)
        return 0;
    bm_fail(err, ESTALE, "cannot go on with %s", job->destination.part);
    bm_cause(err, "it has %llu bytes and not the %llu of %s",
             (unsigned long long)job->target->size,
             (unsigned long long)job->source->size, job->how->source);
    return bm_remedy(err, "begin again without --resume"), -ESTALE;
}

static int take_up(struct bm_image_copy_job *job, struct bm_error *err)
{
    struct bm_image_copy_identity id;
    int rc = bm_destination_claim(&job->destination, err);

    if (rc == 0)
        rc = bm_image_copy_open_target(job, err);
    if (rc == 0)
        rc = check_part(job, err);
    if (rc)
        return rc;
    id = bm_image_copy_identity_of(job);
    rc = bm_image_copy_state_load(job->destination.state, &id, &job->done, err);
    if (rc == 0 && wants_digests(job->how))
        rc = bm_manifest_reopen(job->destination.spool, job->how->digest,
                                job->source->size, &job->digests, err);
    return rc ? rc : plan_rest(job, err);
}

/* --- from the beginning --- */

static int begin(struct bm_image_copy_job *job, struct bm_error *err)
{
    int rc;

    rc = bm_destination_claim(&job->destination,
                              err); /* an old one may be in use */
    if (rc == 0)
        rc = bm_destination_forget(&job->destination, err);
    if (rc)
        return rc;
    rc = bm_destination_make(&job->destination, job->how->state_dir,
                             job->source->size, err);
    job->fresh = true;
    if (rc == 0)
        rc = bm_destination_claim(&job->destination, err);
    if (rc == 0)
        rc = bm_image_copy_open_target(job, err);
    if (rc == 0 && wants_digests(job->how))
        rc = bm_manifest_new(job->destination.spool, NULL, job->how->digest,
                             job->source->size, &job->digests, err);
    if (rc)
        return rc;
    job->done = bm_bitmap_new(job->source->size, BM_DIGEST_BLOCK);
    return job->done
               ? 0
               : bm_fail_errno(err, ENOMEM, "cannot copy %s", job->how->source);
}

static int part_is_gone(const struct bm_image_copy_job *job,
                        struct bm_error *err)
{
    bm_fail(err, ENOENT, "cannot go on with the rescue of %s",
            job->how->source);
    bm_cause(err, "%s is gone, which the map %s is about",
             job->destination.part, job->how->mapfile);
    return bm_status(err, BM_EXIT_REFUSED);
}

/* What ddrescue wrote bears its own name already; from now on it does not look
 * whole until it is. */
static int take_up_rescue(struct bm_image_copy_job *job, struct bm_error *err)
{
    struct bm_destination *l = &job->destination;
    int rc =
        bm_mapfile_load(job->how->mapfile, job->source->size, &job->map, err);

    if (rc)
        return rc;
    if (!bm_destination_exists(l)) {
        if (bm_mapfile_noted(job->map, "part"))
            return part_is_gone(job, err);
        rc = bm_destination_adopt(l, err);
    }
    if (rc == 0)
        rc = bm_destination_extend(l, job->source->size, err);
    if (rc == 0)
        rc = bm_destination_claim(l, err);
    if (rc == 0)
        rc = bm_image_copy_open_target(job, err);
    if (rc == 0 && wants_digests(job->how))
        rc = bm_manifest_new(l->spool, NULL, job->how->digest,
                             job->source->size, &job->digests, err);
    return rc;
}

static int no_map(const struct bm_image_copy_job *job, struct bm_error *err)
{
    bm_fail(err, ENOENT, "cannot go on with the rescue of %s",
            job->how->source);
    bm_cause(err, "there is no map %s", job->how->mapfile);
    return bm_status(err, BM_EXIT_REFUSED);
}

static int map_exists(const struct bm_image_copy_job *job, struct bm_error *err)
{
    bm_fail(err, EEXIST, "cannot rescue %s", job->how->source);
    bm_cause(err, "the map %s exists", job->how->mapfile);
    bm_remedy(err, "--resume goes on by it");
    return bm_status(err, BM_EXIT_REFUSED);
}

static bool can_take_up(const struct bm_image_copy_job *job)
{
    return !job->how->rescue && job->how->resume &&
           bm_destination_exists(&job->destination) &&
           access(job->destination.state, F_OK) == 0;
}

int bm_image_copy_start(struct bm_image_copy_job *job, struct bm_error *err)
{
    const struct bm_image_copy *t = job->how;

    if (t->rescue && access(t->mapfile, F_OK) == 0)
        return t->resume ? take_up_rescue(job, err) : map_exists(job, err);
    if (t->rescue && t->resume)
        return no_map(job, err);
    return can_take_up(job) ? take_up(job, err) : begin(job, err);
}
