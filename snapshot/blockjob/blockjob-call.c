// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/blockjob/blockjob-call.h"

#include "snapshot/libvirt/timed-call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void bm_job_call_free(void *arg)
{
    struct job_call *call = arg;

    virDomainFree(call->dom);
    free(call->xml);
    free(call->base);
    free(call->top);
    free(call);
}

struct job_call *bm_job_call_new(struct bm_domain *domain, const char *target)
{
    struct job_call *call = calloc(1, sizeof *call);

    if (!call)
        return NULL;
    virDomainRef(domain->dom);
    call->dom = domain->dom;
    snprintf(call->target, sizeof call->target, "%s", target);
    return call;
}

int bm_job_call(struct job_call *call, struct bm_domain *domain,
                const char *verb, int (*fn)(void *), int timeout_ms,
                struct job_call *answer, struct bm_error *err)
{
    char what[300];
    int rc;

    if (!call)
        return bm_fail_errno(err, ENOMEM, "cannot %s", verb);
    snprintf(what, sizeof what, "cannot %s disk %s of %s", verb, call->target,
             domain->name);
    rc = bm_call(what, timeout_ms, fn, call, bm_job_call_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    if (answer)
        *answer = *call;
    bm_job_call_free(call);
    return rc;
}
