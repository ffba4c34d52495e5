// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/blockjob/blockjob.h"

#include "nbd/base/units.h"
#include "snapshot/blockjob/blockjob-call.h"
#include "snapshot/libvirt/timed-call.h"

#include <errno.h>
#include <string.h>

/* How long the event of a job that is gone may still be on its way. */
#define LATE_EVENT_MS 2000

const char *bm_blockjob_state_name(enum bm_blockjob_state state)
{
    static const char *const names[] = {
        "running", "ready",    "completed",  "canceled",
        "failed",  "vanished", "guest gone", "connection lost"};

    return names[state];
}

static void take_event(struct bm_blockjob *job, const struct bm_event *event)
{
    if (event->kind == BM_EVENT_GONE) {
        job->state = BM_BLOCKJOB_LOST;
    } else if (event->kind == BM_EVENT_LIFECYCLE) {
        if (event->code == VIR_DOMAIN_EVENT_STOPPED ||
            event->code == VIR_DOMAIN_EVENT_CRASHED)
            job->state = BM_JOB_GUEST_GONE;
    } else if (event->kind == BM_EVENT_JOB &&
               !strcmp(event->disk, job->target)) {
        switch (event->code) {
        case VIR_DOMAIN_BLOCK_JOB_COMPLETED:
            job->state = BM_BLOCKJOB_COMPLETED;
            break;
        case VIR_DOMAIN_BLOCK_JOB_FAILED:
            job->state = BM_BLOCKJOB_FAILED;
            break;
        case VIR_DOMAIN_BLOCK_JOB_CANCELED:
            job->state = BM_JOB_CANCELED;
            break;
        case VIR_DOMAIN_BLOCK_JOB_READY:
            job->state = BM_BLOCKJOB_READY;
            break;
        }
    }
}

bool bm_blockjob_state_over(enum bm_blockjob_state state)
{
    return state != BM_BLOCKJOB_RUNNING && state != BM_BLOCKJOB_READY;
}

/* Takes events for at most wait_ms, until one changes the state. */
static bool events_changed(struct bm_blockjob *job, int wait_ms)
{
    int64_t until = bm_now_ms() + wait_ms;
    enum bm_blockjob_state before = job->state;
    struct bm_event event;

    for (;;) {
        int64_t left = until - bm_now_ms();

        if (bm_connection_next(job->conn, job->domain->uuid, &job->seq,
                               left > 0 ? (int)left : 0, &event) == 0)
            return job->state != before;
        take_event(job, &event);
        if (job->state != before)
            return true;
    }
}

/* libvirt has no such job any more: the event that says how it ended. */
static bool ended_late(struct bm_blockjob *job)
{
    int64_t until = bm_now_ms() + LATE_EVENT_MS, left;

    while (!bm_blockjob_state_over(job->state) &&
           (left = until - bm_now_ms()) > 0)
        (void)events_changed(job, (int)left);
    return bm_blockjob_state_over(job->state);
}

static int info_fn(void *arg)
{
    struct job_call *call = arg;

    call->found =
        virDomainGetBlockJobInfo(call->dom, call->target, &call->info,
                                 VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES);
    return call->found < 0 ? -1 : 0;
}

int bm_blockjob_kind(struct bm_domain *domain, const char *target, int *kind,
                     struct bm_error *err)
{
    struct job_call answer;
    int rc = bm_job_call(bm_job_call_new(domain, target), domain,
                         "read the block job of", info_fn, bm_call_ms(),
                         &answer, err);

    if (!rc)
        *kind = answer.found ? (int)answer.info.type : 0;
    return rc;
}

/* READY by the XML, for an event that came before we listened. */
static int look_for_ready(struct bm_blockjob *job, struct bm_error *err)
{
    struct bm_disk *disk;
    int rc = bm_domain_refresh(job->conn, job->domain, err);

    if (rc)
        return rc;
    disk = bm_domain_disk(job->domain, job->target);
    if (disk && disk->mirror && disk->mirror_ready)
        job->state = BM_BLOCKJOB_READY;
    return 0;
}

/* libvirt could not say: because the guest is gone, or the connection is? */
static int cannot_ask(struct bm_blockjob *job, int rc, struct bm_error *err)
{
    if (rc == -ECONNRESET || bm_connection_lost(job->conn)) {
        job->state = BM_BLOCKJOB_LOST;
        return 0;
    }
    if (rc == -ENOENT || rc == -EINVAL) {
        if (ended_late(job))
            return 0;
        if (bm_domain_refresh(job->conn, job->domain, err) == -ENOENT ||
            !job->domain->active) {
            job->state = BM_JOB_GUEST_GONE;
            return 0;
        }
    }
    return rc;
}

static int ask_libvirt(struct bm_blockjob *job, struct bm_error *err)
{
    struct job_call answer;
    int rc = bm_job_call(bm_job_call_new(job->domain, job->target), job->domain,
                         "read the block job of", info_fn, bm_call_ms(),
                         &answer, err);

    if (rc)
        return cannot_ask(job, rc, err);
    if (!answer.found) {
        if (!ended_late(job))
            job->state = BM_JOB_VANISHED;
        return 0;
    }
    job->cur = answer.info.cur;
    job->end = answer.info.end;
    if (job->state == BM_BLOCKJOB_RUNNING && job->cur == job->end)
        return look_for_ready(job, err);
    return 0;
}

int bm_blockjob_poll(struct bm_blockjob *job, int wait_ms, struct bm_error *err)
{
    if (bm_blockjob_state_over(job->state) || events_changed(job, wait_ms))
        return 0;
    return ask_libvirt(job, err);
}
