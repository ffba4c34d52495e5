// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How the files of blockjob.h call libvirt: with all that the call needs in
 * a struct of its own, since it may be abandoned (timed-call.h).
 */
#ifndef BM_SNAPSHOT_BLOCKJOB_BLOCKJOB_CALL_H
#define BM_SNAPSHOT_BLOCKJOB_BLOCKJOB_CALL_H

#include "snapshot/domain/domain.h"

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

/* NULL: out of memory, which bm_job_call says. */
struct job_call *bm_job_call_new(struct bm_domain *domain, const char *target);
void bm_job_call_free(void *call);
/* Takes call. *answer, if given, is what it was at the end, without the
 * pointers' targets; on success and on failure, but not when abandoned. */
int bm_job_call(struct job_call *call, struct bm_domain *domain,
                const char *verb, int (*fn)(void *), int timeout_ms,
                struct job_call *answer, struct bm_error *err);

#endif
