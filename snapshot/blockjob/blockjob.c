// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/blockjob/blockjob.h"

#include "nbd/base/units.h"
#include "snapshot/blockjob/blockjob-call.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/domain/disk-xml.h"

#include <errno.h>
#include <string.h>

/* --- start --- */

int bm_copy_flags(bool shallow, bool reuse, bool synchronous, unsigned *flags)
{
    /* SHALLOW with REUSE_EXT opens the chain late, and write-blocking then
     * copies clusters from nothing: silent corruption (docs/pitfalls.md P1). */
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
    job->state = BM_BLOCKJOB_RUNNING;
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
    struct job_call *call = bm_job_call_new(domain, request->target);

    bm_blockjob_adopt(conn, domain, request->target, job);
    if (call) {
        call->bandwidth = request->bandwidth;
        call->xml = bm_disk_xml_copy_target(request->dest);
        if (!call->xml || bm_copy_flags(request->shallow, request->reuse, false,
                                        &call->flags) < 0) {
            bm_job_call_free(call);
            return bm_fail_errno(err, EINVAL, "cannot copy disk %s",
                                 request->target);
        }
    }
    return bm_job_call(call, domain, "start the copy of", copy_fn, bm_call_ms(),
                       NULL, err);
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
    struct job_call *call = bm_job_call_new(domain, request->target);

    bm_blockjob_adopt(conn, domain, request->target, job);
    if (call) {
        call->bandwidth = request->bandwidth;
        call->base = request->base ? strdup(request->base) : NULL;
        call->top = request->top ? strdup(request->top) : NULL;
        if ((request->base && !call->base) || (request->top && !call->top)) {
            bm_job_call_free(call);
            call = NULL;
        }
    }
    return bm_job_call(call, domain, "start the commit of", commit_fn,
                       bm_call_ms(), NULL, err);
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
    struct job_call *call = bm_job_call_new(domain, target);

    bm_blockjob_adopt(conn, domain, target, job);
    if (call)
        call->bandwidth = bandwidth;
    return bm_job_call(call, domain, "start the pull of", pull_fn, bm_call_ms(),
                       NULL, err);
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
    struct job_call *call = bm_job_call_new(job->domain, job->target);

    if (call)
        call->flags = flags | VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC;
    return bm_job_call(call, job->domain, verb, end_fn, timeout_ms, NULL, err);
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
    while (!bm_blockjob_state_over(job->state)) {
        rc = bm_blockjob_poll(job, 500, err);
        if (rc)
            return rc;
        if (!bm_blockjob_state_over(job->state) && bm_now_ms() > until) {
            bm_fail(err, ETIMEDOUT, "cannot end the block job of disk %s",
                    job->target);
            bm_cause(err, "it is still there after %d ms", timeout_ms);
            return bm_status(err, BM_EXIT_HELD), -ETIMEDOUT;
        }
    }
    if (job->state == BM_BLOCKJOB_LOST)
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
    struct job_call *call = bm_job_call_new(domain, target);

    if (call)
        call->bandwidth = bandwidth;
    return bm_job_call(call, domain, "set the speed of the job of", speed_fn,
                       bm_call_ms(), NULL, err);
}
