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

int bm_run_enter(struct bm_run *m, enum bm_state state, struct bm_error *err)
{
    enum bm_state before = m->job->state;
    int rc;

    bm_job_set_state(m->job, state);
    if (!bm_state_traits(state)->may_pause)
        bm_run_end_user_pause(m);
    m->phase_ms = bm_now_ms();
    rc = bm_run_save(m, bm_state_name(state), err);
    if (rc) {
        bm_job_set_state(m->job,
                         before); /* not entered until it is written down */
        return rc;
    }
    m->hooks->event(m->hooks->opaque, m->job, NULL);
    m->space_ms = 0; /* a quick move has no second */
    bm_run_progress(m, 0, 0);
    bm_failpoint(bm_state_name(state));
    return 0;
}

void bm_run_progress(struct bm_run *m, uint64_t done, uint64_t total)
{
    int64_t elapsed = bm_now_ms() - m->phase_ms;
    struct bm_progress progress = {
        .state = m->job->state,
        .bytes_done = done,
        .bytes_total = total,
        .rate = elapsed > 0 ? done * 1000 / (uint64_t)elapsed : 0,
        .elapsed_ms = elapsed,
        .paused = m->job->paused,
    };
    struct bm_latency_state control = {0};

    bm_space_tick(m);
    if (m->pacing)
        bm_pacing_state(m->pacing, &control);
    progress.latency_us = control.factor > 0 ? control.latency_us : 0;
    progress.bound_us = control.factor > 0 ? control.bound_us : 0;

    m->hooks->progress(m->hooks->opaque, m->job, &progress);
}

static int domain_gone(struct bm_run *m)
{
    bm_domain_free(m->domain);
    m->domain = NULL;
    return 0;
}

static int read_again(struct bm_run *m, struct bm_error *err)
{
    int rc;

    if (!m->domain)
        rc = bm_domain_open_uuid(m->conn, m->job->uuid, &m->domain, err);
    else
        rc = bm_domain_refresh(m->conn, m->domain, err);
    return rc == -ENOENT ? domain_gone(m) : rc;
}

static int read_anyhow(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_connection_lost(m->conn) ? -ECONNRESET : read_again(m, err);

    if (rc != -ECONNRESET)
        return rc;
    rc = bm_run_note(m, err, "connection to libvirt lost, connecting again");
    if (!rc)
        rc = bm_connection_reopen(m->conn, RECONNECT_MS, err);
    return rc ? rc : read_again(m, err);
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
static int check_here(const struct bm_run *m, struct bm_error *err)
{
    const char *where = m->domain ? bm_domain_away(m->domain) : NULL;
    enum bm_state state = m->job->state;
    int rc;

    if (!where || bm_state_traits(state)->untouched ||
        state == BM_STATE_RELEASING || bm_state_final(state) ||
        !stands_on_ours(m->job))
        return 0;
    rc = bm_job_needs_operator(m->job, err);
    return tell_away(where, err), rc;
}

int bm_run_refresh(struct bm_run *m, struct bm_error *err)
{
    int rc = read_anyhow(m, err);

    if (!rc)
        bm_overlay_journal_see(m);
    if (!rc && m->pacing)
        bm_pacing_follow(m->pacing, m);
    return rc ? rc : check_here(m, err);
}

int bm_run_refresh_domain(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_run_refresh(m, err);

    if (rc || m->domain)
        return rc;
    return bm_fail_errno(err, ENOENT, "domain %s is gone", m->job->domain);
}

int bm_run_check_away(const struct bm_run *m, struct bm_error *err)
{
    const char *where = m->domain ? bm_domain_away(m->domain) : NULL;

    if (!where)
        return 0;
    bm_fail(err, ESTALE, "cannot change the disks of %s", m->job->domain);
    return tell_away(where, err), -ESTALE;
}

int bm_run_count_arrived(struct bm_run *m, size_t *arrived,
                         struct bm_error *err)
{
    *arrived = 0;
    for (size_t i = 0; i < m->job->n_disks; i++) {
        int at = bm_disk_location(m->domain, bm_run_disk(m, i),
                                  &m->job->disks[i], err);

        if (at < 0)
            return at;
        if (at != BM_AT_SOURCE && at != BM_AT_DEST)
            return bm_run_misplaced(m, i, bm_location_name(at), NULL, err);
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

int bm_run_count_left(struct bm_run *m, size_t *arrived, struct bm_error *err)
{
    bool any = false;

    for (size_t i = 0; i < m->job->n_disks; i++)
        any |= names_new(bm_run_disk(m, i), &m->job->disks[i]);
    *arrived = 0;
    return any ? bm_run_count_arrived(m, arrived, err) : 0;
}

int bm_run_forgive_change(struct bm_run *m, int rc, struct bm_error *err)
{
    if (rc != -ESTALE)
        return rc;
    bm_remedy(err, "try again: it has changed since the plan was made");
    return bm_status(err, BM_EXIT_FAILED), rc;
}

int bm_run_too_late(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_run_note(m, err,
                         "too late to go back: a disk is on its new image "
                         "alone already, so the move goes on");

    memset(&m->reason, 0, sizeof m->reason);
    if (!rc)
        rc = bm_run_enter(m, BM_STATE_CONSOLIDATING, err);
    return rc ? rc : -EAGAIN;
}

void bm_run_while_paused(struct bm_run *m)
{
    for (bm_run_take_requests(m); m->job->paused; bm_run_take_requests(m)) {
        bm_run_progress(m, 0, 0);
        bm_sleep_ms(PAUSE_LOOK_MS);
    }
}
