// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The way back of a pull. */
#include "blockmig/step/commit.h"
#include "blockmig/run/guest-pause.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/strategy/pull-steps.h"
#include "blockmig/job/disk-location.h"
#include "nbd/image/image-lock.h"
#include "blockmig/job/job-chain.h"
#include "snapshot/blockjob/blockjob.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ABORT_MS 60000

static int end_pull(struct bm_run *run, size_t i, struct bm_error *err)
{
    struct bm_blockjob job;
    int kind = 0, rc = 0;

    if (bm_run_disk(run, i))
        rc = bm_blockjob_kind(run->domain, run->job->disks[i].target, &kind,
                              err);
    if (rc || kind != VIR_DOMAIN_BLOCK_JOB_TYPE_PULL)
        return rc;
    bm_blockjob_adopt(run->conn, run->domain, run->job->disks[i].target, &job);
    return bm_blockjob_abort(&job, ABORT_MS, err);
}

/* What was pulled is safe, and `job resume` goes on with it. */
static int needs_operator(struct bm_run *run, size_t i, struct bm_error *err)
{
    const char *path = run->job->disks[i].source.layers[0].path;
    char why[sizeof err->cause];

    snprintf(why, sizeof why, "%s", err->cause);
    bm_fail(err, BM_NEEDS_OPERATOR, "cannot go back with disk %s of %s",
            run->job->disks[i].target, run->job->domain);
    bm_cause(err, "%s takes no writes: %.300s", path, why);
    bm_remedy(err,
              "`blockmig job resume %s` pulls on; with --back it goes back, "
              "when that can be written to",
              run->job->id);
    bm_status(err, BM_EXIT_HELD);
    return bm_run_stop_at(run, BM_STATE_COPYING, -BM_NEEDS_OPERATOR);
}

static int go_down(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    bool active = run->domain->active;
    int rc;

    if (access(plan->source.layers[0].path, W_OK) != 0) {
        bm_cause(err, "%s", strerror(errno));
        return needs_operator(run, i, err);
    }
    rc = active ? bm_commit_running(run, i, 1, err)
                : bm_commit_off(run, i, &plan->source, err);
    /* one that went off meanwhile is tried again */
    if (rc == -EIO && bm_pull_went_off(run) == !active)
        return needs_operator(run, i, err);
    return rc;
}

/* A target that was full has paused the guest. */
static int let_run(struct bm_run *run, struct bm_error *err)
{
    if (run->domain->state != VIR_DOMAIN_PAUSED ||
        run->domain->reason != VIR_DOMAIN_PAUSED_IOERROR)
        return 0;
    return bm_pause_resume(run, err);
}

/* A QEMU that libvirt lost sight of in the freeze would still have it open. */
static int check_unused(const struct bm_job_disk *plan, struct bm_error *err)
{
    const char *path = bm_job_new_image(plan)->path;
    int fd;

    if (access(path, F_OK) != 0)
        return 0;
    fd = bm_frozen_lock(path, err);
    if (fd < 0)
        return bm_status(err, BM_EXIT_HELD), fd;
    (void)close(fd);
    return 0;
}

/* Without a domain nobody can tell where its disks stood: an image that was
 * never formatted was never written to. */
static int nobody_there(struct bm_run *run, struct bm_error *err)
{
    struct stat st;

    for (size_t i = 0; i < run->job->n_disks; i++) {
        const struct bm_job_disk *plan = &run->job->disks[i];

        if (stat(bm_job_new_image(plan)->path, &st) != 0 || st.st_size == 0)
            continue;
        bm_fail(err, ENOENT, "cannot go back with disk %s of %s", plan->target,
                run->job->domain);
        bm_cause(err,
                 "the domain is gone, and what the guest wrote last is "
                 "in %s",
                 bm_job_new_image(plan)->path);
        bm_remedy(err, "define the domain again, with that image");
        return bm_status(err, BM_EXIT_HELD), -ENOENT;
    }
    return 0;
}

int bm_pull_back(struct bm_run *run, struct bm_error *err)
{
    struct bm_pull_count count;
    int rc = 0;

    if (!run->domain)
        return nobody_there(run, err);
    for (size_t i = 0; !rc && run->domain->active && i < run->job->n_disks; i++)
        rc = end_pull(run, i, err);
    if (!rc)
        rc = bm_pull_look(run, &count, err);
    if (!rc && count.at_dest)
        return bm_run_too_late(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        int at = bm_disk_location(run->domain, bm_run_disk(run, i),
                                  &run->job->disks[i], err);

        rc = at < 0 ? at : at == BM_AT_PULL ? go_down(run, i, err) : 0;
    }
    if (!rc)
        rc = bm_pull_look(run, &count, err);
    bm_failpoint("rolling-back.committed");
    if (!rc)
        rc = let_run(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = check_unused(&run->job->disks[i], err);
    return rc;
}
