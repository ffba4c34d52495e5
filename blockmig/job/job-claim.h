// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a job must have for itself, as keys that are equal when two jobs want
 * the same thing: the domain's disk, and the image files by every name that
 * one might know them by. A store holds each key at most once.
 */
#ifndef BM_JOB_JOB_CLAIM_H
#define BM_JOB_JOB_CLAIM_H

#include "blockmig/job/job.h"

struct bm_claim {
    char *key; /* "UUID/vda", "file:DEV:INO", "block:MAJ:MIN", "path:P" */
    const char *disk; /* the job's, borrowed */
};

struct bm_claims {
    struct bm_claim *claims;
    size_t n;
};

/* The top image of each source, each target, and the disks themselves. A
 * shared base below a source is not claimed: nobody writes it. */
int bm_job_claims(const struct bm_job *job, struct bm_claims *out);
void bm_claims_clear(struct bm_claims *claims);

#endif
