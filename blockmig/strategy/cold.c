// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A domain that is shut off: copied and proven by our own engine, redefined.
 * QEMU's own lock is held on the images all the while, so the guest cannot
 * start on them; and that it is off is checked again before the XML is changed.
 */
#include "blockmig/job/failpoint.h"
#include "blockmig/job/disk-location.h"
#include "blockmig/strategy/staged-private.h"
#include "blockmig/strategy/strategy.h"
#include "blockmig/step/switch-off.h"
#include "nbd/base/units.h"
#include "blockmig/step/written-since.h"

#include <errno.h>
#include <sys/stat.h>

static const enum bm_state states[] = {
    BM_STATE_ALLOCATING, BM_STATE_COPYING,   BM_STATE_PROVING,
    BM_STATE_SWITCHING,  BM_STATE_RELEASING,
};

static bool skips(const struct bm_job *job, enum bm_state state)
{
    return !job->request.proof && state == BM_STATE_PROVING;
}

/* Off, and each disk where the job found it. */
static int check_off(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh(run, err);

    if (rc)
        return rc;
    if (!run->domain || run->domain->active) {
        bm_fail(err, EBUSY, "cannot go on with the cold move of %s",
                run->job->domain);
        return bm_cause(err, run->domain ? "the guest was started"
                                         : "the domain is gone"),
               -EBUSY;
    }
    return 0;
}

static int check_stand(struct bm_run *run, struct bm_error *err)
{
    for (size_t i = 0; i < run->job->n_disks; i++) {
        const struct bm_job_disk *plan = &run->job->disks[i];
        int at = bm_disk_location(run->domain, bm_run_disk(run, i), plan, err);

        if (at != BM_AT_SOURCE)
            return at < 0 ? at
                          : bm_fail(err, ESTALE,
                                    "disk %s of %s was changed meanwhile",
                                    plan->target, run->job->domain);
    }
    return 0;
}

/* --- copying --- */

/* When any layer was changed last: nobody can set that back. 0: a device does
 * not tell. */
static int64_t changed_at(const struct bm_chain *chain)
{
    int64_t newest = 0;
    struct stat st;

    for (size_t i = 0; i < chain->n; i++) {
        int64_t ns;

        if (stat(chain->layers[i].path, &st) != 0 || !S_ISREG(st.st_mode))
            return 0;
        ns = bm_nanoseconds(&st.st_ctim);
        newest = ns > newest ? ns : newest;
    }
    return newest;
}

/* What an earlier process copied counts only if it is still so: it held the
 * images, but let go of them when it died. */
static int look_again(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    struct bm_job_disk *disk = &s->run->job->disks[i];
    int64_t changed = changed_at(&disk->source);
    int rc = 0;

    if (bm_target_written_since(disk, 0, true))
        rc = bm_replica_doubt(s->replicas[i], err);
    if (rc || (changed && changed == disk->source_ns))
        return rc;
    rc = bm_replica_recheck(s->replicas[i], &disk->source, err);
    disk->source_ns = changed;
    return rc ? rc : bm_run_save(s->run, NULL, err);
}

static int copy_disk(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    struct bm_job_disk *disk = &s->run->job->disks[i];
    int rc = look_again(s, i, err);

    if (!rc)
        rc =
            bm_replica_copy(s->replicas[i], &disk->source,
                            disk->below ? BM_REPLICA_OWN : BM_REPLICA_ALL, err);
    if (!rc)
        bm_target_keep_time(disk, 0);
    return rc;
}

static int copy(struct bm_run *run, struct bm_error *err)
{
    int64_t start = bm_now_ms();
    int rc = check_off(run, err);

    if (!rc)
        rc = check_stand(run, err);
    if (!rc)
        rc = bm_off_hold(run, err);
    if (!rc) {
        bm_failpoint("copying.started");
        rc = bm_replica_run_each(run, copy_disk, err);
    }
    run->job->result.copy_ms += bm_now_ms() - start;
    return rc;
}

/* --- proving --- */

static int prove_disk(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    int rc = bm_staged_prove(s, i, &s->run->job->disks[i].source, err);

    if (!rc)
        rc = bm_staged_bounds(s, i, err);
    if (!rc)
        rc = bm_staged_fill(s, i, err);
    return rc ? rc : bm_staged_record(s, i, err);
}

static int prove(struct bm_run *run, struct bm_error *err)
{
    int64_t start = bm_now_ms();
    int rc = bm_replica_run_each(run, prove_disk, err);

    run->job->result.prove_ms += bm_now_ms() - start;
    return rc;
}

static int doubt_disk(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    return bm_staged_doubt(s, i, &s->run->job->disks[i].source, err);
}

/* --- switching --- */

static int switch_over(struct bm_run *run, struct bm_error *err)
{
    bool again;
    int rc = check_off(run, err);

    if (!rc)
        rc = bm_off_look(run, &again, err);
    if (!rc && again) {
        rc = bm_run_enter(run, BM_STATE_COPYING, err);
        return rc ? rc : -EAGAIN;
    }
    /* held: no guest has run on the new images */
    if (!rc && run->locked.fds && run->job->request.proof)
        rc = bm_replica_run_each(run, doubt_disk, err);
    return rc ? rc : bm_off_switch(run, err);
}

const struct bm_strategy_ops bm_strategy_cold = {
    .states = states,
    .skips = skips,
    .copy = copy,
    .prove = prove,
    .switch_over = switch_over,
};
