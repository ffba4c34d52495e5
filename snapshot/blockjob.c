// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/blockjob.h"

#include "nbd/cleanup.h"
#include "nbd/units.h"
#include "snapshot/call.h"
#include "snapshot/disk-xml.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>

/* How long the event of a job that is gone may still be on its way. */
#define LATE_EVENT_MS 2000

const char *bm_jobstate_name(enum bm_jobstate state)
{
    static const char *const names[] = {
        "running", "ready",    "completed",  "canceled",
        "failed",  "vanished", "guest gone", "connection lost"};

    return names[state];
}

/* --- calls --- */

struct job_call {
    virDomainPtr dom; /* a reference */
    char target[32];
    char *xml;
    char *base, *top; /* paths; NULL: the next layer, the active one */
    unsigned flags;
    uint64_t bandwidth;
    int found; /* info: whether there is a job */
    virDomainBlockJobInfo info;
};

static void call_free(void *arg)
{
    struct job_call *call = arg;

    virDomainFree(call->dom);
    free(call->xml);
    free(call->base);
    free(call->top);
    free(call);
}

static struct job_call *call_new(struct bm_domain *domain, const char *target)
{
    struct job_call *call = calloc(1, sizeof *call);

    if (!call)
        return NULL;
    virDomainRef(domain->dom);
    call->dom = domain->dom;
    snprintf(call->target, sizeof call->target, "%s", target);
    return call;
}

/* Takes call; *info, if given, is filled on success. */
static int run(struct job_call *call, struct bm_domain *domain,
               const char *verb, int (*fn)(void *), int timeout_ms,
               struct job_call *answer, struct bm_error *err)
{
    char what[300];
    int rc;

    if (!call)
        return bm_fail_errno(err, ENOMEM, "cannot %s", verb);
    snprintf(what, sizeof what, "cannot %s disk %s of %s", verb, call->target,
             domain->name);
    rc = bm_call(what, timeout_ms, fn, call, call_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    if (answer)
        *answer = *call;
    call_free(call);
    return rc;
}

/* --- start --- */

int bm_copy_flags(bool shallow, bool reuse, bool synchronous, unsigned *flags)
{
    /* SHALLOW with REUSE_EXT opens the chain late, and write-blocking then
     * copies clusters from nothing: silent corruption (libvirt.md 0.1). */
    if (shallow && reuse && synchronous)
        return -EINVAL;
    *flags = VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB;
    if (shallow)
        *flags |= VIR_DOMAIN_BLOCK_COPY_SHALLOW;
    if (reuse)
        *flags |= VIR_DOMAIN_BLOCK_COPY_REUSE_EXT;
    if (synchronous)
        *flags |= VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES;
    return 0;
}

void bm_blockjob_adopt(struct bm_connection *conn, struct bm_domain *domain,
                       const char *target, struct bm_blockjob *job)
{
    memset(job, 0, sizeof *job);
    job->conn = conn;
    job->domain = domain;
    snprintf(job->target, sizeof job->target, "%s", target);
    job->seq = bm_connection_mark(conn);
    job->state = BM_JOB_RUNNING;
}

static int copy_fn(void *arg)
{
    struct job_call *call = arg;
    virTypedParameterPtr params = NULL;
    int n = 0, max = 0, rc;

    /* 0 would be sent as a limit of nothing: leave it out */
    if (call->bandwidth &&
        virTypedParamsAddULLong(&params, &n, &max,
                                VIR_DOMAIN_BLOCK_COPY_BANDWIDTH,
                                call->bandwidth) < 0)
        return -1;
    rc = virDomainBlockCopy(call->dom, call->target, call->xml, params, n,
                            call->flags);
    virTypedParamsFree(params, n);
    return rc;
}

int bm_blockjob_copy(struct bm_connection *conn, struct bm_domain *domain,
                     const struct bm_copy_request *request,
                     struct bm_blockjob *job, struct bm_error *err)
{
    struct job_call *call = call_new(domain, request->target);

    bm_blockjob_adopt(conn, domain, request->target, job);
    if (call) {
        call->bandwidth = request->bandwidth;
        call->xml = bm_disk_xml_copy_target(request->dest);
        if (!call->xml || bm_copy_flags(request->shallow, request->reuse, false,
                                        &call->flags) < 0) {
            call_free(call);
            return bm_fail_errno(err, EINVAL, "cannot copy disk %s",
                                 request->target);
        }
    }
    return run(call, domain, "start the copy of", copy_fn, bm_call_ms(), NULL,
               err);
}

static int commit_fn(void *arg)
{
    struct job_call *call = arg;
    unsigned flags = VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES;

    if (!call->top)
        flags |= VIR_DOMAIN_BLOCK_COMMIT_ACTIVE;
    if (!call->base)
        flags |= VIR_DOMAIN_BLOCK_COMMIT_SHALLOW;
    return virDomainBlockCommit(call->dom, call->target, call->base, call->top,
                                call->bandwidth, flags);
}

int bm_blockjob_commit(struct bm_connection *conn, struct bm_domain *domain,
                       const struct bm_commit_request *request,
                       struct bm_blockjob *job, struct bm_error *err)
{
    struct job_call *call = call_new(domain, request->target);

    bm_blockjob_adopt(conn, domain, request->target, job);
    if (call) {
        call->bandwidth = request->bandwidth;
        call->base = request->base ? strdup(request->base) : NULL;
        call->top = request->top ? strdup(request->top) : NULL;
        if ((request->base && !call->base) || (request->top && !call->top)) {
            call_free(call);
            call = NULL;
        }
    }
    return run(call, domain, "start the commit of", commit_fn, bm_call_ms(),
               NULL, err);
}

static int pull_fn(void *arg)
{
    struct job_call *call = arg;

    return virDomainBlockPull(call->dom, call->target, call->bandwidth,
                              VIR_DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES);
}

int bm_blockjob_pull(struct bm_connection *conn, struct bm_domain *domain,
                     const char *target, uint64_t bandwidth,
                     struct bm_blockjob *job, struct bm_error *err)
{
    struct job_call *call = call_new(domain, target);

    bm_blockjob_adopt(conn, domain, target, job);
    if (call)
        call->bandwidth = bandwidth;
    return run(call, domain, "start the pull of", pull_fn, bm_call_ms(), NULL,
               err);
}

/* --- watch --- */

static void take_event(struct bm_blockjob *job, const struct bm_event *event)
{
    if (event->kind == BM_EVENT_GONE) {
        job->state = BM_JOB_LOST;
    } else if (event->kind == BM_EVENT_LIFECYCLE) {
        if (event->code == VIR_DOMAIN_EVENT_STOPPED ||
            event->code == VIR_DOMAIN_EVENT_CRASHED)
            job->state = BM_JOB_GUEST_GONE;
    } else if (event->kind == BM_EVENT_JOB &&
               !strcmp(event->disk, job->target)) {
        switch (event->code) {
        case VIR_DOMAIN_BLOCK_JOB_COMPLETED:
            job->state = BM_JOB_COMPLETED;
            break;
        case VIR_DOMAIN_BLOCK_JOB_FAILED:
            job->state = BM_JOB_FAILED;
            break;
        case VIR_DOMAIN_BLOCK_JOB_CANCELED:
            job->state = BM_JOB_CANCELED;
            break;
        case VIR_DOMAIN_BLOCK_JOB_READY:
            job->state = BM_JOB_READY;
            break;
        }
    }
}

static bool over(enum bm_jobstate state)
{
    return state != BM_JOB_RUNNING && state != BM_JOB_READY;
}

/* Takes events for at most wait_ms, until one changes the state. */
static bool events_changed(struct bm_blockjob *job, int wait_ms)
{
    int64_t until = bm_now_ms() + wait_ms;
    enum bm_jobstate before = job->state;
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

    while (!over(job->state) && (left = until - bm_now_ms()) > 0)
        (void)events_changed(job, (int)left);
    return over(job->state);
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
    int rc = run(call_new(domain, target), domain, "read the block job of",
                 info_fn, bm_call_ms(), &answer, err);

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
        job->state = BM_JOB_READY;
    return 0;
}

/* libvirt could not say: because the guest is gone, or the connection is? */
static int cannot_ask(struct bm_blockjob *job, int rc, struct bm_error *err)
{
    if (rc == -ECONNRESET || bm_connection_lost(job->conn)) {
        job->state = BM_JOB_LOST;
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
    int rc = run(call_new(job->domain, job->target), job->domain,
                 "read the block job of", info_fn, bm_call_ms(), &answer, err);

    if (rc)
        return cannot_ask(job, rc, err);
    if (!answer.found) {
        if (!ended_late(job))
            job->state = BM_JOB_VANISHED;
        return 0;
    }
    job->cur = answer.info.cur;
    job->end = answer.info.end;
    if (job->state == BM_JOB_RUNNING && job->cur == job->end)
        return look_for_ready(job, err);
    return 0;
}

int bm_blockjob_poll(struct bm_blockjob *job, int wait_ms, struct bm_error *err)
{
    if (over(job->state) || events_changed(job, wait_ms))
        return 0;
    return ask_libvirt(job, err);
}

/* --- end --- */

static int end_fn(void *arg)
{
    struct job_call *call = arg;

    return virDomainBlockJobAbort(call->dom, call->target, call->flags);
}

static int ask_for_end(struct bm_blockjob *job, const char *verb,
                       unsigned flags, int timeout_ms, struct bm_error *err)
{
    struct job_call *call = call_new(job->domain, job->target);

    if (call)
        call->flags = flags | VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC;
    return run(call, job->domain, verb, end_fn, timeout_ms, NULL, err);
}

int bm_blockjob_pivot(struct bm_blockjob *job, int timeout_ms,
                      struct bm_error *err)
{
    return ask_for_end(job, "pivot", VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT,
                       timeout_ms, err);
}

int bm_blockjob_abort(struct bm_blockjob *job, int timeout_ms,
                      struct bm_error *err)
{
    int64_t until = bm_now_ms() + timeout_ms;
    int rc = ask_for_end(job, "end the block job of", 0, bm_call_ms(), err);

    if (rc == -ETIMEDOUT || rc == -ECONNRESET)
        return rc;
    /* other errors: perhaps it ended meanwhile, which the poll shows */
    while (!over(job->state)) {
        rc = bm_blockjob_poll(job, 500, err);
        if (rc)
            return rc;
        if (!over(job->state) && bm_now_ms() > until) {
            bm_fail(err, ETIMEDOUT, "cannot end the block job of disk %s",
                    job->target);
            bm_cause(err, "it is still there after %d ms", timeout_ms);
            return bm_status(err, BM_EXIT_HELD), -ETIMEDOUT;
        }
    }
    if (job->state == BM_JOB_LOST)
        return bm_fail_errno(err, ECONNRESET,
                             "cannot end the block job of disk %s",
                             job->target);
    return 0;
}

static int speed_fn(void *arg)
{
    struct job_call *call = arg;

    return virDomainBlockJobSetSpeed(
        call->dom, call->target, call->bandwidth,
        VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES);
}

int bm_blockjob_speed(struct bm_domain *domain, const char *target,
                      uint64_t bandwidth, struct bm_error *err)
{
    struct job_call *call = call_new(domain, target);

    if (call)
        call->bandwidth = bandwidth;
    return run(call, domain, "set the speed of the job of", speed_fn,
               bm_call_ms(), NULL, err);
}
