// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The state machine of one job (docs/design.md), from a claimed job to done,
 * rolled back, held or needs-recovery; and the same from wherever a dead
 * process left it.
 *
 * Threads: the moving thread only.
 */
#ifndef BM_ENGINE_ENGINE_H
#define BM_ENGINE_ENGINE_H

#include "blockmig/run/hooks.h"
#include "blockmig/job/job-store.h"
#include "blockmig/job/job.h"
#include "snapshot/libvirt/connection.h"

struct bm_guard;
struct bm_strategy_ops;

/* What the engine is given. All of it is borrowed. */
struct bm_engine {
    struct bm_connection *conn;
    struct bm_job_store *jobs;
    struct bm_job *job;
    struct bm_guard *guard;
    const struct bm_run_hooks *hooks;
    const struct bm_strategy_ops *ops; /* NULL: those of the job's strategy */
};

/*
 * The guard must be forked before any thread or connection exists
 * (bm_guard_start, guard.h). The caller holds the job's run lock.
 * Runs the job to a resting state; job->state and job->exit_status say which.
 * Returns 0 when done; -EIO with BM_EXIT_UNREADABLE: done, but for the bad
 * sectors of a rescue; rolled back, also on request, returns the reason.
 */
int bm_engine_run(const struct bm_engine *engine, struct bm_error *err);

/* `job resume`: looks at what is there, then goes on; or goes back; or goes
 * on without a proof that cannot be made any more (only a held job, or one
 * that could not read its old image; the source is then kept). */
enum bm_resume { BM_RESUME_ON, BM_RESUME_BACK, BM_RESUME_ACCEPT };
int bm_engine_resume(const struct bm_engine *engine, enum bm_resume how,
                     struct bm_error *err);

/* `job release`: deletes a kept source after a fresh check of its users. */
int bm_engine_release(struct bm_connection *conn, struct bm_job_store *store,
                      struct bm_job *job, struct bm_error *err);

#endif
