// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The life of a job: from its plan it is claimed, checked and run; after a
 * crash it is taken up and resumed. Until it runs nothing is touched, and a job
 * that is refused leaves no trace in the store. It prints nothing: a command,
 * or a worker, gives the functions that do.
 *
 * Threads: the thread that becomes the moving thread.
 */
#ifndef BM_ENGINE_LAUNCH_H
#define BM_ENGINE_LAUNCH_H

#include "blockmig/engine/engine.h"
#include "blockmig/preflight/checks.h"

struct bm_launch {
    struct bm_engine engine; /* engine.job is planned, and the caller's */
    void *opaque;
    /* Adds all checks of the planned job to the list, and touches nothing. A
     * negative errno: a check could not be made. */
    int (*check)(void *opaque, struct bm_preflight *list, struct bm_error *err);
    /* The checks were made, and a refusal may be among them. Or NULL. */
    void (*checked)(void *opaque, const struct bm_preflight *list);
    /* Nothing was refused. The last moment before the job runs, to listen, and
     * to tell others that it does: 0, or the job is forgotten. Or NULL. */
    int (*ready)(void *opaque, struct bm_error *err);
};

/* The run lock first, then the job is in the store, so that nobody takes it for
 * dead. *lock: the caller's, for bm_job_run_unlock, also after an error; -1:
 * there is none. -EBUSY: a disk of it has another job. */
int bm_launch_claim(const struct bm_launch *launch, int *lock,
                    struct bm_error *err);
/* The claimed job is in preflight. 0; a negative errno with BM_EXIT_REFUSED: it
 * is refused; -ECANCELED: the user does not want it any more. */
int bm_launch_check(const struct bm_launch *launch, struct bm_error *err);
/* Checks the claimed job, and runs it to a resting state, as bm_engine_run.
 * *ran: it did; else the job is forgotten. */
int bm_launch_run(const struct bm_launch *launch, bool *ran,
                  struct bm_error *err);

/* Another command may have changed the disks between the plan and the claim:
 * -ESTALE with BM_EXIT_REFUSED. What cannot be looked at here the checks tell
 * better. */
int bm_launch_check_chains(struct bm_connection *conn, const struct bm_job *job,
                           struct bm_error *err);

/* Takes up a job of the store: its run lock, and only then the job itself, as
 * what was read before may be old. *lock as of bm_launch_claim. -EBUSY: a
 * process runs it. Then bm_engine_resume. */
int bm_launch_take_up(struct bm_job_store *jobs, const char *id,
                      struct bm_job **job, int *lock, struct bm_error *err);

/* What became of a job that ran: rc is that of bm_engine_run or
 * bm_engine_resume. Its exit status and its error, as they are to be told, in
 * job->result. The exit status, or rc with err's status set from the job. */
int bm_launch_result(struct bm_job *job, int rc, struct bm_error *err);

#endif
