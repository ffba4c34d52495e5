// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/step/source-overlays.h"

#include "blockmig/step/commit.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/guard/overlay-transaction.h"
#include "blockmig/step/internal-snapshots.h"
#include "blockmig/image/overlay-image.h"
#include "blockmig/run/pacing.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/job/disk-location.h"
#include "blockmig/image/image-in-use.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/run/overlay-journal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* By the guest, so without the tables that it was made with. */
static uint64_t written(const struct bm_job_disk *disk, const struct stat *st)
{
    uint64_t all = (uint64_t)st->st_blocks * 512;
    uint64_t tables = bm_overlay_tables(disk->fixed.capacity);

    return all > tables ? all - tables : 0;
}

uint64_t bm_source_overlays_bytes(const struct bm_job *job)
{
    uint64_t bytes = 0;
    struct stat st;

    for (size_t i = 0; i < job->n_disks; i++)
        if (job->disks[i].overlays.n_source > 0 &&
            stat(job->disks[i].source.layers[0].path, &st) == 0)
            bytes += written(&job->disks[i], &st);
    return bytes;
}

static int no_memory(const struct bm_run *run, struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot freeze %s", run->job->domain);
}

/* A freeze would wait for it, and be abandoned; a commit is refused. */
static int check_busy(struct bm_run *run, const char *verb,
                      struct bm_error *err)
{
    bool busy;
    int rc = bm_domain_busy(run->domain, &busy, err);

    if (rc || !busy)
        return rc;
    bm_fail(err, EBUSY, "cannot %s the overlays of %s", verb, run->job->domain);
    bm_cause(err, "a backup, save, dump or migration of it is under way");
    return bm_remedy(err, "wait for its end, see virsh domjobinfo"), -EBUSY;
}

/* --- one that was asked for --- */

/* Takes the chain over. */
static void stand_on(struct bm_job_disk *disk, struct bm_chain *chain)
{
    bm_chain_clear(&disk->source);
    disk->source = *chain;
    memset(chain, 0, sizeof *chain);
}

/* *moved: the freeze has happened for this disk. */
static int adopt_disk(struct bm_run *run, size_t i, bool *moved,
                      struct bm_error *err)
{
    struct bm_job_disk *plan = &run->job->disks[i];
    BM_FREE char *overlay =
        bm_job_source_overlay(run->job, plan, run->job->staged.overlays_sent);
    struct bm_chain wanted = {0}, found = {0};
    int rc =
        overlay ? bm_chain_on_top(overlay, &plan->source, &wanted) : -ENOMEM;

    if (rc)
        return no_memory(run, err);
    rc = bm_disk_location_chain(run->domain, bm_run_disk(run, i), &found, err);
    *moved = !rc && bm_chain_equal(&found, &wanted);
    if (*moved) {
        stand_on(plan, &wanted);
        plan->overlays.n_source++;
    }
    bm_chain_clear(&wanted);
    bm_chain_clear(&found);
    return rc;
}

int bm_source_overlays_adopt(struct bm_run *run, struct bm_error *err)
{
    size_t moved = 0, asked = 0;
    int rc = 0;

    for (size_t i = 0; !rc && run->domain && i < run->job->n_disks; i++) {
        bool it = false;

        if (bm_job_source_overlay_number(&run->job->disks[i]) >=
                run->job->staged.overlays_sent ||
            !bm_run_disk(run, i))
            continue;
        asked++;
        rc = adopt_disk(run, i, &it, err);
        moved += it;
    }
    if (rc || !moved)
        return rc;
    rc = bm_run_save(run, NULL, err);
    if (!rc && moved < asked) {
        bm_fail(err, ESTALE, "only %zu of %zu disks of %s are frozen", moved,
                asked, run->job->domain);
        return bm_status(err, BM_EXIT_HELD), -ESTALE;
    }
    return rc;
}

/* --- one more --- */

struct overlay {
    char *path;
    uint64_t size; /* bytes */
};

static int check_stand(struct bm_run *run, struct bm_error *err)
{
    for (size_t i = 0; i < run->job->n_disks; i++) {
        struct bm_disk *disk = bm_run_disk(run, i);

        if (!disk || !bm_chain_equal(&disk->chain, &run->job->disks[i].source))
            return bm_run_misplaced(run, i, "on a chain that is not ours", NULL,
                                    err);
    }
    return 0;
}

/* Makes the next ones. What a failed freeze has left by those names is ours,
 * and no chain holds it. */
static int make(struct bm_run *run, struct overlay *overlays,
                struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        const struct bm_layer *below = &run->job->disks[i].source.layers[0];
        struct overlay *overlay = &overlays[i];

        rc = bm_file_remove(overlay->path, err);
        if (!rc)
            rc = bm_overlay_below(below, &overlay->size, err);
        if (!rc)
            rc = bm_overlay_make(overlay->path, below, overlay->size, err);
    }
    return rc;
}

/* Somebody may have resized a disk since its overlay was made: the guest goes
 * on seeing that size. */
static int keep_size(struct bm_run *run, const struct overlay *overlays,
                     struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        const struct bm_job_disk *plan = &run->job->disks[i];
        uint64_t size;

        rc = bm_overlay_below(&plan->source.layers[0], &size, err);
        if (!rc && size != overlays[i].size)
            rc = bm_domain_resize(run->domain, plan->target, size, err);
    }
    return rc;
}

static int put_on(struct bm_run *run, const struct overlay *overlays,
                  struct bm_error *err)
{
    BM_FREE const char **paths = calloc(run->job->n_disks, sizeof *paths);
    int rc;

    if (!paths)
        return no_memory(run, err);
    for (size_t i = 0; i < run->job->n_disks; i++)
        paths[i] = overlays[i].path;
    bm_pacing_measure(run); /* what the guest's I/O takes on its own images */
    rc = check_busy(run, "make", err); /* that took up to a second */
    if (!rc)
        rc = bm_overlay_journal_expect(run, BM_OVERLAY_SOURCE, err);
    if (rc)
        return rc;
    bm_failpoint("freezing.sent");
    for (size_t i = 0; i < run->job->n_disks; i++)
        bm_file_calm(run->job->disks[i].source.layers[0].path);
    rc = bm_overlays_put(run->domain, run->job, paths, true, err);
    return rc ? rc : keep_size(run, overlays, err);
}

static int ask(struct bm_run *run, struct bm_error *err)
{
    BM_FREE struct overlay *overlays =
        calloc(run->job->n_disks, sizeof *overlays);
    int rc;

    if (!overlays)
        return no_memory(run, err);
    run->job->staged.overlays_sent =
        bm_job_source_overlay_number(&run->job->disks[0]) + 1;
    rc = bm_overlay_journal_begin(run, BM_OVERLAY_SOURCE, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        overlays[i].path = bm_job_source_overlay(
            run->job, &run->job->disks[i], run->job->staged.overlays_sent);
        if (!overlays[i].path)
            rc = no_memory(run, err);
    }
    if (!rc)
        rc = make(run, overlays, err);
    if (!rc)
        rc = put_on(run, overlays, err);
    for (size_t i = 0; i < run->job->n_disks; i++)
        free(overlays[i].path);
    return rc;
}

int bm_source_overlays_freeze(struct bm_run *run, struct bm_error *err)
{
    int rc = check_stand(run, err);

    if (!rc)
        rc = check_busy(run, "make", err);
    if (!rc)
        rc = bm_internal_snapshots_top(run->job, err);
    if (!rc)
        rc = ask(run, err);
    if (rc)
        return rc;
    bm_failpoint("freezing.frozen");
    rc = bm_run_refresh(run, err);
    if (!rc)
        rc = bm_source_overlays_adopt(run, err);
    return rc ? rc : check_stand(run, err);
}

/* --- their end --- */

/* The disk stands on what it stood on before, or on its new image. */
static int drop(struct bm_run *run, size_t i, struct bm_error *err)
{
    struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_chain origin = {0},
                    below = bm_job_below(plan, plan->overlays.n_source);
    int rc = 0;

    for (int n = run->job->staged.overlays_sent; !rc && n > 0; n--) {
        BM_FREE char *path = bm_job_source_overlay(run->job, plan, n);

        if (!path)
            rc = no_memory(run, err);
        else if (bm_chain_names(&below, path))
            rc = bm_run_note(run, err,
                             "%s holds what the guest wrote meanwhile, and "
                             "stays as a layer: its merge was undone",
                             path);
        else
            rc = bm_file_remove(path, err);
    }
    if (rc || !plan->overlays.n_source)
        return rc;
    if (bm_chain_copy(&below, &origin) < 0)
        return no_memory(run, err);
    stand_on(plan, &origin);
    plan->overlays.n_source = 0;
    return bm_run_save(run, NULL, err);
}

static int commit(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_chain origin = bm_job_below(plan, plan->overlays.n_source);
    int rc;

    if (!run->domain->active)
        return bm_commit_off(run, i, &origin, err);
    rc = check_busy(run, "merge", err);
    return rc ? rc
              : bm_commit_running(run, i, (size_t)plan->overlays.n_source, err);
}

int bm_source_overlays_commit(struct bm_run *run, size_t i,
                              struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_chain origin = bm_job_below(plan, plan->overlays.n_source),
                    found = {0};
    int rc =
        bm_disk_location_chain(run->domain, bm_run_disk(run, i), &found, err);

    /* A dead process may have come so far. And what somebody has put on our
     * overlays is not ours to commit. */
    if (!rc && plan->overlays.n_source &&
        bm_chain_equal(&found, &plan->source)) {
        bm_chain_clear(&found);
        rc = commit(run, i, err);
        if (!rc)
            rc = bm_disk_location_chain(run->domain, bm_run_disk(run, i),
                                        &found, err);
    }
    if (!rc && !bm_chain_equal(&found, &origin))
        rc = bm_run_misplaced(run, i, "on a chain that is not ours", &found,
                              err);
    bm_chain_clear(&found);
    bm_failpoint("rolling-back.committed");
    return rc ? rc : drop(run, i, err);
}

int bm_source_overlays_remove(struct bm_run *run, size_t i,
                              struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    int rc = 0;

    for (int n = run->job->staged.overlays_sent; !rc && n > 0; n--) {
        BM_FREE char *path = bm_job_source_overlay(run->job, plan, n);

        rc = path ? bm_users_other_domains(run->conn, run->job->uuid, path, err)
                  : no_memory(run, err);
    }
    return rc ? rc : drop(run, i, err);
}
