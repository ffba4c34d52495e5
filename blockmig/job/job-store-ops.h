// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a backend of the job store offers to job-store.c. The contract of
 * each operation is that of the function of its name in job-store.h.
 */
#ifndef BM_JOB_JOB_STORE_OPS_H
#define BM_JOB_JOB_STORE_OPS_H

#include "blockmig/job/job-store.h"

struct bm_job_store_ops {
    void (*close)(struct bm_job_store *store); /* not store->dir */
    /* Brings an older format to ours (job-format.h), or changes nothing. Not
     * when readonly: there each document is upgraded as it is read. */
    int (*upgrade)(struct bm_job_store *store, struct bm_error *err);
    int (*claim)(struct bm_job_store *store, struct bm_job *job,
                 struct bm_error *err);
    /* finish: end the claims too */
    int (*save)(struct bm_job_store *store, struct bm_job *job,
                const char *event, bool finish, struct bm_error *err);
    int (*forget)(struct bm_job_store *store, const char *id,
                  struct bm_error *err);
    int (*load)(struct bm_job_store *store, const char *id, struct bm_job **out,
                struct bm_error *err);
    int (*list)(struct bm_job_store *store, bm_job_each fn, void *opaque,
                struct bm_error *err);
    int (*events)(struct bm_job_store *store, const char *id,
                  bm_job_event_each fn, void *opaque, struct bm_error *err);
};

/* First member of each backend's own struct. */
struct bm_job_store {
    const struct bm_job_store_ops *ops;
    char *dir; /* absolute, unless it is missing and readonly */
    bool readonly;
};

/* dir exists, unless readonly. */
int bm_job_sqlite_open(const char *dir, bool readonly,
                       struct bm_job_store **out, struct bm_error *err);

#endif
