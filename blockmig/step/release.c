// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The end of a move: what success means is checked, and the source is kept or
 * deleted. Of an old chain only the layers are ever deleted that have a new
 * image of their own, and that nobody else uses; of one that became one image
 * the top only: whether a backing file serves as somebody's template cannot be
 * known from here.
 */
#include "blockmig/run/ballast.h"
#include "blockmig/step/snapshot-metadata.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/run/pacing.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/run/space-watch.h"
#include "blockmig/job/disk-location.h"
#include "blockmig/image/image-in-use.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/step/step.h"
#include "blockmig/step/replica-run.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int not_there(struct bm_run *run, size_t i, const char *which,
                     const struct bm_chain *chain, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    char found[400];

    bm_fail(err, ESTALE, "the move of disk %s of %s is not complete",
            plan->target, run->job->domain);
    bm_cause(err, "its %s XML names %s, not %s", which,
             bm_chain_text(chain, found, sizeof found),
             bm_job_new_image(plan)->path);
    return bm_status(err, BM_EXIT_HELD), -ESTALE;
}

static bool names(const struct bm_chain *chain, const char *path)
{
    return chain->n && chain->layers[0].path &&
           !strcmp(chain->layers[0].path, path);
}

/* libvirt leaves the saved XML alone when its source is spelled otherwise
 * than the live one (docs/pitfalls.md P12). */
static int check_config(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_disk *disk = bm_run_disk(run, i);
    int rc = 0;

    if (!run->domain->persistent || disk->inactive.n == 0)
        return 0;
    if (!names(&disk->inactive, bm_job_new_image(plan)->path)) {
        rc = bm_domain_set_config(run->domain, plan->target, &plan->dest, err);
        if (!rc)
            rc = bm_run_refresh(run, err);
        disk = bm_run_disk(run, i);
    }
    if (!rc && !(disk && names(&disk->inactive, bm_job_new_image(plan)->path)))
        return disk ? not_there(run, i, "saved", &disk->inactive, err)
                    : -ESTALE;
    return rc;
}

static int check_capacity(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_disk *disk = bm_run_disk(run, i);
    int rc = bm_domain_disk_size(run->domain, disk, err);

    if (rc || disk->capacity == plan->fixed.capacity)
        return rc;
    return bm_run_note(run, err,
                       "disk %s had %llu bytes when the move began and has "
                       "%llu now: it was resized meanwhile",
                       plan->target, (unsigned long long)plan->fixed.capacity,
                       (unsigned long long)disk->capacity);
}

static int check_disk(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_disk *disk = bm_run_disk(run, i);
    static const struct bm_chain nothing;
    int at = bm_disk_location(run->domain, disk, plan, err);
    int rc;

    if (at != BM_AT_DEST)
        return at < 0 ? at
                      : not_there(run, i, "live",
                                  disk ? &disk->chain : &nothing, err);
    rc = bm_target_check(plan, err);
    if (!rc)
        rc = check_config(run, i, err);
    return rc ? rc : check_capacity(run, i, err);
}

/* --- the source --- */

/* An inode's number is soon given to another file. */
static bool born_after(const char *path, int64_t ms)
{
    struct statx sx;

    return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &sx) == 0 &&
           (sx.stx_mask & STATX_BTIME) &&
           (int64_t)sx.stx_btime.tv_sec * 1000 +
                   sx.stx_btime.tv_nsec / 1000000 >
               ms;
}

/* An old layer that has a new image: which, and what has become of it. */
struct old {
    const struct bm_layer *layer;
    uint64_t dev, ino;
    bool *kept, *deleted;
};

static struct old old_of(struct bm_job_disk *disk, size_t k)
{
    struct bm_job_layer *lower = k ? &disk->lower[k - 1] : NULL;

    return (struct old){
        .layer = bm_job_old(disk, k),
        .dev = lower ? lower->source_dev : disk->fixed.source_dev,
        .ino = lower ? lower->source_ino : disk->fixed.source_ino,
        .kept = lower ? &lower->kept : &disk->kept,
        .deleted = lower ? &lower->deleted : &disk->deleted,
    };
}

/* Weeks may lie between the move and `job release`: by then another image may
 * bear the name. And a link is not the image that it names. */
static int still_that_file(const struct bm_job *job, const struct old *old,
                           struct bm_error *err)
{
    const char *path = old->layer->path;

    if (bm_file_is(path, old->dev, old->ino) &&
        !born_after(path, job->created_ms))
        return 0;
    bm_fail(err, EBUSY, "cannot delete %s", path);
    bm_cause(err, "it is a link, or not the file any more that was moved");
    return bm_remedy(err, "look what it is, and delete it by hand"), -EBUSY;
}

static int delete_old(struct bm_run *run, const struct old *old,
                      const char *addition, struct bm_error *err)
{
    const char *path = old->layer->path;
    bool there = !*old->deleted && access(path, F_OK) == 0;
    int rc = there ? still_that_file(run->job, old, err) : 0;

    if (!rc && there)
        rc = bm_users_none(run->conn, NULL, path, err);
    if (!rc && there)
        rc = bm_pacing_spares(run->pacing) ? bm_file_remove_slowly(path, err)
                                           : bm_file_remove(path, err);
    if (rc)
        return rc;
    if (there)
        bm_failpoint("releasing.deleted");
    *old->deleted = true;
    *old->kept = false;
    return there ? bm_run_note(run, err, "source image %s deleted%s", path,
                               addition)
                 : bm_run_save(run, NULL, err);
}

int bm_step_delete_source(struct bm_run *run, struct bm_job_disk *disk,
                          struct bm_error *err)
{
    bool more = disk->source.n > disk->n_lower + 1;
    int rc = 0;

    for (size_t k = 0; !rc && k <= disk->n_lower; k++) {
        struct old old = old_of(disk, k);

        if (old.layer->type == BM_SOURCE_FILE)
            rc = delete_old(run, &old,
                            more && k == disk->n_lower
                                ? ", its backing files are kept"
                                : "",
                            err);
    }
    return rc;
}

static void keep_what_is_there(struct bm_job_disk *disk)
{
    for (size_t k = 0; k <= disk->n_lower; k++) {
        struct old old = old_of(disk, k);

        *old.kept = !*old.deleted;
    }
}

/* Deleting comes last and may be refused: then the source is kept, and that
 * is said; the move itself is done. */
static int keep_or_delete(struct bm_run *run, struct bm_job_disk *disk,
                          struct bm_error *err)
{
    struct bm_error why = BM_ERROR_INIT;
    char line[1024];
    int rc;

    keep_what_is_there(disk);
    if (run->job->request.source_delete && disk->rescue.unproven_bytes)
        return bm_run_note(run, err,
                           "source of disk %s is kept: not all of it could "
                           "be read, and proven",
                           disk->target);
    if (!run->job->request.source_delete || !disk->proof.proven)
        return 0;
    rc = bm_step_delete_source(run, disk, &why);
    if (!rc)
        return 0;
    bm_error_line(&why, line, sizeof line);
    return bm_run_note(run, err, "source of disk %s is kept: %s", disk->target,
                       line);
}

/* The images are where they should be, but there is no XML any more that
 * could name them: say so, and delete nothing. */
static int nobody_left(struct bm_run *run, struct bm_error *err)
{
    for (size_t i = 0; i < run->job->n_disks; i++)
        keep_what_is_there(&run->job->disks[i]);
    return bm_run_note(run, err,
                       "domain %s is gone meanwhile; its images were moved, "
                       "and their sources are kept",
                       run->job->domain);
}

int bm_step_release(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh(run, err);

    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = bm_replica_run_forget(run, &run->job->disks[i], err);
    if (!rc && !run->domain)
        return nobody_left(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = check_disk(run, i, err);
    if (!rc)
        rc = bm_ballast_remove(run, err);
    if (!rc)
        rc = bm_space_let_run(run, err);
    if (!rc)
        rc = bm_snapshot_metadata_rewrite(run, false, err);
    if (!rc)
        rc = bm_step_drop_checkpoints(run, err);
    if (!rc)
        rc = bm_snapshot_metadata_hide(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = keep_or_delete(run, &run->job->disks[i], err);
    if (!rc)
        rc = bm_domain_stamp(run->domain, NULL, err);
    return rc;
}
