// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/mover.h"

#include "blockmig/answers.h"
#include "blockmig/heed.h"
#include "blockmig/lost.h"
#include "blockmig/pacer.h"
#include "blockmig/point.h"
#include "blockmig/room.h"
#include "blockmig/situation.h"
#include "blockmig/strategy.h"
#include "nbd/cleanup.h"
#include "nbd/units.h"
#include "snapshot/call.h"

#include <errno.h>
#include <string.h>

#define RECONNECT_MS 60000
#define STALL_MS 300000 /* a copy that moves no byte for so long has failed */
#define PAUSED_RATE 1   /* bytes a second; 0 would be no limit */
/* From when a pull is about to end nobody asks for statistics: libvirt lists
 * all nodes for them, and QEMU 7.2 dies of that while it takes the pull's
 * filter out of the graph (seen: a segfault, once in some hundred pulls). */
#define LAST_BYTES (UINT64_C(256) << 20)

int bm_mover_save(struct bm_mover *m, const char *text, struct bm_error *err)
{
    return bm_job_store_save(m->store, m->job, text, err);
}

int bm_mover_enter(struct bm_mover *m, enum bm_state state,
                   struct bm_error *err)
{
    enum bm_state before = m->job->state;
    int rc;

    m->job->state = state;
    if (!bm_heed_may_pause(state))
        bm_heed_pause_over(m);
    m->phase_ms = bm_now_ms();
    rc = bm_mover_save(m, bm_state_name(state), err);
    if (rc) {
        m->job->state = before; /* not entered until it is written down */
        return rc;
    }
    m->hooks->event(m->hooks->opaque, m->job, NULL);
    m->room_ms = 0; /* a quick move has no second */
    bm_mover_progress(m, 0, 0);
    bm_point(bm_state_name(state));
    return 0;
}

int bm_mover_note(struct bm_mover *m, struct bm_error *err, const char *fmt,
                  ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    m->hooks->event(m->hooks->opaque, m->job, text);
    return bm_mover_save(m, text, err);
}

void bm_mover_progress(struct bm_mover *m, uint64_t done, uint64_t total)
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
    struct bm_pace_state pace = {0};

    bm_room_tick(m);
    if (m->pacer)
        bm_pacer_state(m->pacer, &pace);
    progress.latency_us = pace.factor > 0 ? pace.latency_us : 0;
    progress.bound_us = pace.factor > 0 ? pace.bound_us : 0;

    m->hooks->progress(m->hooks->opaque, m->job, &progress);
}

bool bm_mover_asked_to_cancel(struct bm_mover *m)
{
    if (m->hooks->cancelled(m->hooks->opaque))
        m->job->cancel = true;
    return m->job->cancel;
}

bool bm_mover_cancelled(struct bm_mover *m)
{
    return bm_mover_asked_to_cancel(m) || m->room == BM_ROOM_STOP ||
           (m->room == BM_ROOM_FORWARD && m->job->state > BM_STATE_SWITCHING);
}

void bm_mover_blame(struct bm_mover *m, const struct bm_error *err)
{
    if (!m->reason.code && err->code)
        m->reason = *err;
}

void bm_mover_unlock(struct bm_mover *m)
{
    for (size_t i = 0; i < m->n_locks; i++)
        (void)close(m->locks[i]);
    free(BM_STEAL(m->locks));
    m->n_locks = 0;
}

static int domain_gone(struct bm_mover *m)
{
    bm_domain_free(m->domain);
    m->domain = NULL;
    return 0;
}

static int read_again(struct bm_mover *m, struct bm_error *err)
{
    int rc;

    if (!m->domain)
        rc = bm_domain_open_uuid(m->conn, m->job->uuid, &m->domain, err);
    else
        rc = bm_domain_refresh(m->conn, m->domain, err);
    return rc == -ENOENT ? domain_gone(m) : rc;
}

static int read_anyhow(struct bm_mover *m, struct bm_error *err)
{
    int rc = bm_connection_lost(m->conn) ? -ECONNRESET : read_again(m, err);

    if (rc != -ECONNRESET)
        return rc;
    rc = bm_mover_note(m, err, "connection to libvirt lost, connecting again");
    if (!rc)
        rc = bm_connection_reopen(m->conn, RECONNECT_MS, err);
    return rc ? rc : read_again(m, err);
}

/* Or may: from the first freeze; where libvirt copies, from the switch. */
static bool stands_on_ours(const struct bm_job *job)
{
    return job->strategy == BM_STRATEGY_PULL || job->fronts_sent > 0 ||
           (job->strategy == BM_STRATEGY_BLOCKCOPY &&
            job->state >= BM_STATE_SWITCHING &&
            job->state != BM_STATE_ROLLING_BACK);
}

static void tell_away(const char *where, struct bm_error *err)
{
    bm_cause(err, "%s, which names the images as they are now", where);
    bm_remedy(err, "bring the guest back, by virsh start or restore");
}

/* A guest that is off for good can be moved without it. One that will go on
 * where it was knows its disks by the names of our overlays. */
static int check_here(const struct bm_mover *m, struct bm_error *err)
{
    const char *where = m->domain ? bm_domain_away(m->domain) : NULL;
    enum bm_state state = m->job->state;
    int rc;

    if (!where || state <= BM_STATE_ALLOCATING || state == BM_STATE_RELEASING ||
        bm_state_final(state) || !stands_on_ours(m->job))
        return 0;
    rc = bm_stuck(m->job, err);
    return tell_away(where, err), rc;
}

int bm_mover_refresh(struct bm_mover *m, struct bm_error *err)
{
    int rc = read_anyhow(m, err);

    if (!rc)
        bm_lost_see(m);
    if (!rc && m->pacer)
        bm_pacer_follow(m->pacer, m);
    return rc ? rc : check_here(m, err);
}

int bm_mover_refresh_domain(struct bm_mover *m, struct bm_error *err)
{
    int rc = bm_mover_refresh(m, err);

    if (rc || m->domain)
        return rc;
    return bm_fail_errno(err, ENOENT, "domain %s is gone", m->job->domain);
}

int bm_mover_check_away(const struct bm_mover *m, struct bm_error *err)
{
    const char *where = m->domain ? bm_domain_away(m->domain) : NULL;

    if (!where)
        return 0;
    bm_fail(err, ESTALE, "cannot change the disks of %s", m->job->domain);
    return tell_away(where, err), -ESTALE;
}

int bm_mover_arrived(struct bm_mover *m, size_t *arrived, struct bm_error *err)
{
    *arrived = 0;
    for (size_t i = 0; i < m->job->n_disks; i++) {
        int at = bm_situation(m->domain, bm_mover_disk(m, i), &m->job->disks[i],
                              err);

        if (at < 0)
            return at;
        if (at != BM_AT_SOURCE && at != BM_AT_DEST)
            return bm_mover_misplaced(m, i, bm_situation_name(at), NULL, err);
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

int bm_mover_left(struct bm_mover *m, size_t *arrived, struct bm_error *err)
{
    bool any = false;

    for (size_t i = 0; i < m->job->n_disks; i++)
        any |= names_new(bm_mover_disk(m, i), &m->job->disks[i]);
    *arrived = 0;
    return any ? bm_mover_arrived(m, arrived, err) : 0;
}

int bm_mover_changed(struct bm_mover *m, int rc, struct bm_error *err)
{
    if (rc != -ESTALE)
        return rc;
    bm_remedy(err, "try again: it has changed since the plan was made");
    return bm_status(err, BM_EXIT_FAILED), rc;
}

int bm_mover_too_late(struct bm_mover *m, struct bm_error *err)
{
    int rc = bm_mover_note(m, err,
                           "too late to go back: a disk is on its new image "
                           "alone already, so the move goes on");

    memset(&m->reason, 0, sizeof m->reason);
    if (!rc)
        rc = bm_mover_enter(m, BM_STATE_CONSOLIDATING, err);
    return rc ? rc : -EAGAIN;
}

struct bm_disk *bm_mover_disk(struct bm_mover *m, size_t i)
{
    return m->domain ? bm_domain_disk(m->domain, m->job->disks[i].target)
                     : NULL;
}

int bm_mover_misplaced(struct bm_mover *m, size_t i, const char *where,
                       const struct bm_chain *found, struct bm_error *err)
{
    const struct bm_disk *disk = bm_mover_disk(m, i);
    const struct bm_chain *chain = found ? found : disk ? &disk->chain : NULL;
    char text[400];

    bm_fail(err, ESTALE, "cannot go on with disk %s of %s",
            m->job->disks[i].target, m->job->domain);
    bm_cause(err, "it is %s: %s", where,
             chain ? bm_chain_text(chain, text, sizeof text)
                   : "not in the domain");
    bm_remedy(err,
              "undo what was changed behind our back (a snapshot that was "
              "made meanwhile: commit it), then `blockmig job resume %s`",
              m->job->id);
    return bm_status(err, BM_EXIT_HELD), -ESTALE;
}

/* --- waiting for the block jobs of all disks --- */

static int job_failed(struct bm_mover *m, const struct bm_blockjob *job,
                      struct bm_error *err)
{
    int code = job->state == BM_JOB_LOST ? ECONNRESET : EIO;

    bm_fail(err, code, "the block job of disk %s of %s did not finish",
            job->target, m->job->domain);
    bm_cause(err, "its state is: %s", bm_jobstate_name(job->state));
    if (job->state == BM_JOB_FAILED)
        bm_remedy(err, "see the log of libvirtd for QEMU's reason");
    return -code;
}

/* libvirt's jobs know no pause: one that is on its way is held to a crawl, one
 * that is ready stays in step, and gets little to do. What cannot be asked now
 * is asked at the next look. */
static void hold_speed(struct bm_mover *m, struct bm_blockjob *job,
                       bool on_its_way)
{
    struct bm_error ignored = BM_ERROR_INIT;
    uint64_t speed = m->job->bandwidth;

    if (m->pacer)
        bm_pacer_share(m->pacer, m->job->n_disks, &speed);
    if (m->job->paused && on_its_way)
        speed = PAUSED_RATE;
    if (job->speed != speed &&
        bm_blockjob_speed(m->domain, job->target, speed, &ignored) == 0)
        job->speed = speed;
}

static bool reached(const struct bm_blockjob *job, enum bm_jobstate wanted)
{
    return job->state == wanted ||
           (wanted == BM_JOB_READY && job->state == BM_JOB_COMPLETED);
}

static bool one_ends_soon(struct bm_mover *m, const struct bm_blockjob *jobs)
{
    for (size_t i = 0; i < m->job->n_disks; i++)
        if (jobs[i].target[0] && jobs[i].state == BM_JOB_RUNNING &&
            jobs[i].cur + LAST_BYTES > jobs[i].end)
            return true;
    return false;
}

/* One look at every job. */
static int poll_all(struct bm_mover *m, struct bm_blockjob *jobs,
                    enum bm_jobstate wanted, bool *all, bool *any,
                    uint64_t *sum, uint64_t *end, struct bm_error *err)
{
    *all = true;
    *any = false;
    *sum = *end = 0;
    for (size_t i = 0; i < m->job->n_disks; i++) {
        struct bm_blockjob *job = &jobs[i];
        int rc = 0;

        if (!job->target[0])
            continue;
        if (!reached(job, wanted))
            rc = bm_blockjob_poll(job, 200 / (int)m->job->n_disks + 1, err);
        if (rc)
            return rc;
        if (job->state != BM_JOB_RUNNING && job->state != BM_JOB_READY &&
            !reached(job, wanted))
            return job_failed(m, job, err);
        *all &= reached(job, wanted);
        *any |= reached(job, wanted);
        *sum += job->cur;
        *end += job->end;
    }
    return 0;
}

static int wait_jobs(struct bm_mover *m, struct bm_blockjob *jobs,
                     enum bm_jobstate wanted, bool first, bool can_cancel,
                     struct bm_error *err)
{
    int64_t moved_ms = bm_now_ms();
    struct bm_patience patience = {0};
    uint64_t sum, end, before = 0;
    bool all, any, held = can_cancel || wanted == BM_JOB_COMPLETED;

    for (;;) {
        int rc;

        bm_heed(m);
        rc = poll_all(m, jobs, wanted, &all, &any, &sum, &end, err);
        for (size_t i = 0; !rc && held && i < m->job->n_disks; i++)
            if (jobs[i].target[0])
                hold_speed(m, &jobs[i], !reached(&jobs[i], wanted));
        if (rc || all || (first && any))
            return rc;
        if (can_cancel && bm_mover_cancelled(m))
            return bm_fail_errno(err, ECANCELED, "the %s of %s stops",
                                 bm_job_noun(m->job), m->job->domain);
        if (sum != before || m->job->paused)
            moved_ms = bm_now_ms();
        before = sum;
        rc = bm_patience(&patience, m->job, sum, bm_call_ms(), err);
        if (rc)
            return rc;
        if (m->pacer && !one_ends_soon(m, jobs))
            bm_pacer_tick(m->pacer, m, sum);
        bm_mover_progress(m, sum, end);
        if (bm_now_ms() - moved_ms > STALL_MS) {
            bm_fail(err, ETIMEDOUT, "the block jobs of %s stand still",
                    m->job->domain);
            return bm_cause(err, "no byte moved for %d s", STALL_MS / 1000),
                   -EIO;
        }
    }
}

int bm_mover_wait_jobs(struct bm_mover *m, struct bm_blockjob *jobs,
                       enum bm_jobstate wanted, bool can_cancel,
                       struct bm_error *err)
{
    return wait_jobs(m, jobs, wanted, false, can_cancel, err);
}

int bm_mover_wait_first(struct bm_mover *m, struct bm_blockjob *jobs,
                        struct bm_error *err)
{
    return wait_jobs(m, jobs, BM_JOB_COMPLETED, true, true, err);
}
