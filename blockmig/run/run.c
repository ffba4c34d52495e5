// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/run.h"

#include "blockmig/run/requests.h"
#include "blockmig/run/pacing.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/run/space-watch.h"
#include "blockmig/job/disk-location.h"
#include "nbd/base/units.h"
#include "blockmig/run/overlay-journal.h"

#include <errno.h>
#include <string.h>

#define RECONNECT_MS 60000
#define PAUSE_LOOK_MS 100

int bm_run_enter(struct bm_run *run, enum bm_state state, struct bm_error *err)
{
    enum bm_state before = run->job->state;
    int rc;

    bm_job_set_state(run->job, state);
    if (!bm_state_traits_of(state)->may_pause)
        bm_run_end_user_pause(run);
    run->phase_ms = bm_now_ms();
    rc = bm_run_save(run, bm_state_name(state), err);
    if (rc) {
        bm_job_set_state(run->job,
                         before); /* not entered until it is written down */
        return rc;
    }
    run->hooks->event(run->hooks->opaque, run->job, NULL);
    run->watch.looked_ms = 0; /* a quick move has no second */
    bm_run_progress(run, 0, 0);
    bm_failpoint(bm_state_name(state));
    return 0;
}

void bm_run_progress(struct bm_run *run, uint64_t done, uint64_t total)
{
    int64_t elapsed = bm_now_ms() - run->phase_ms;
    struct bm_progress progress = {
        .state = run->job->state,
        .bytes_done = done,
        .bytes_total = total,
        .rate = elapsed > 0 ? done * 1000 / (uint64_t)elapsed : 0,
        .elapsed_ms = elapsed,
        .paused = run->job->paused,
    };
    struct bm_latency_state control = {0};

    bm_space_tick(run);
    if (run->pacing)
        bm_pacing_state(run->pacing, &control);
    progress.latency_us = control.factor > 0 ? control.latency_us : 0;
    progress.bound_us = control.factor > 0 ? control.bound_us : 0;

    run->hooks->progress(run->hooks->opaque, run->job, &progress);
}

static int domain_gone(struct bm_run *run)
{
    bm_domain_free(run->domain);
    run->domain = NULL;
    return 0;
}

static int read_again(struct bm_run *run, struct bm_error *err)
{
    int rc;

    if (!run->domain)
        rc = bm_domain_open_uuid(run->conn, run->job->uuid, &run->domain, err);
    else
        rc = bm_domain_refresh(run->conn, run->domain, err);
    return rc == -ENOENT ? domain_gone(run) : rc;
}

static int read_anyhow(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_connection_lost(run->conn) ? -ECONNRESET : read_again(run, err);

    if (rc != -ECONNRESET)
        return rc;
    rc = bm_run_note(run, err, "connection to libvirt lost, connecting again");
    if (!rc)
        rc = bm_connection_reopen(run->conn, RECONNECT_MS, err);
    return rc ? rc : read_again(run, err);
}

/* Or may: from the first freeze; where libvirt copies, from the switch. */
static bool stands_on_ours(const struct bm_job *job)
{
    return job->plan.strategy == BM_STRATEGY_PULL ||
           job->staged.overlays_sent > 0 ||
           (job->plan.strategy == BM_STRATEGY_BLOCKCOPY &&
            !bm_job_before_switch(job) && job->state != BM_STATE_ROLLING_BACK);
}

static void tell_away(const char *where, struct bm_error *err)
{
    bm_cause(err, "%s, which names the images as they are now", where);
    bm_remedy(err, "bring the guest back, by virsh start or restore");
}

/* A guest that is off for good can be moved without it. One that will go on
 * where it was knows its disks by the names of our overlays. */
static int check_here(const struct bm_run *run, struct bm_error *err)
{
    const char *where = run->domain ? bm_domain_away(run->domain) : NULL;
    enum bm_state state = run->job->state;
    int rc;

    if (!where || bm_state_traits_of(state)->untouched ||
        state == BM_STATE_RELEASING || bm_state_final(state) ||
        !stands_on_ours(run->job))
        return 0;
    rc = bm_job_needs_operator(run->job, err);
    return tell_away(where, err), rc;
}

int bm_run_refresh(struct bm_run *run, struct bm_error *err)
{
    int rc = read_anyhow(run, err);

    if (!rc)
        bm_overlay_journal_see(run);
    if (!rc && run->pacing)
        bm_pacing_follow(run->pacing, run);
    return rc ? rc : check_here(run, err);
}

int bm_run_refresh_domain(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh(run, err);

    if (rc || run->domain)
        return rc;
    return bm_fail_errno(err, ENOENT, "domain %s is gone", run->job->domain);
}

int bm_run_check_away(const struct bm_run *run, struct bm_error *err)
{
    const char *where = run->domain ? bm_domain_away(run->domain) : NULL;

    if (!where)
        return 0;
    bm_fail(err, ESTALE, "cannot change the disks of %s", run->job->domain);
    return tell_away(where, err), -ESTALE;
}

int bm_run_count_arrived(struct bm_run *run, size_t *arrived,
                         struct bm_error *err)
{
    *arrived = 0;
    for (size_t i = 0; i < run->job->n_disks; i++) {
        int at = bm_disk_location(run->domain, bm_run_disk(run, i),
                                  &run->job->disks[i], err);

        if (at < 0)
            return at;
        if (at != BM_AT_SOURCE && at != BM_AT_DEST)
            return bm_run_misplaced(run, i, bm_location_name(at), NULL, err);
        *arrived += at == BM_AT_DEST;
    }
    return 0;
}

static bool names_new(const struct bm_disk *disk,
                      const struct bm_job_disk *plan)
{
    const char *path = plan->dest.layers[0].path;

    return disk && (bm_chain_names(&disk->chain, path) ||
                    bm_chain_names(&disk->inactive, path));
}

int bm_run_count_left(struct bm_run *run, size_t *arrived, struct bm_error *err)
{
    bool any = false;

    for (size_t i = 0; i < run->job->n_disks; i++)
        any |= names_new(bm_run_disk(run, i), &run->job->disks[i]);
    *arrived = 0;
    return any ? bm_run_count_arrived(run, arrived, err) : 0;
}

int bm_run_forgive_change(struct bm_run *run, int rc, struct bm_error *err)
{
    if (rc != -ESTALE)
        return rc;
    bm_remedy(err, "try again: it has changed since the plan was made");
    return bm_status(err, BM_EXIT_FAILED), rc;
}

int bm_run_too_late(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_note(run, err,
                         "too late to go back: a disk is on its new image "
                         "alone already, so the move goes on");

    memset(&run->reason, 0, sizeof run->reason);
    if (!rc)
        rc = bm_run_enter(run, BM_STATE_CONSOLIDATING, err);
    return rc ? rc : -EAGAIN;
}

void bm_run_while_paused(struct bm_run *run)
{
    for (bm_run_take_requests(run); run->job->paused;
         bm_run_take_requests(run)) {
        bm_run_progress(run, 0, 0);
        bm_sleep_ms(PAUSE_LOOK_MS);
    }
}
