// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One move: the state machine of design.md section 3, from a claimed job to
 * done, rolled back, held or needs-recovery; and the same from wherever a
 * dead process left it.
 */
#ifndef BM_ENGINE_ENGINE_H
#define BM_ENGINE_ENGINE_H

#include "blockmig/control/control-server.h"
#include "blockmig/job/job-store.h"
#include "blockmig/job/job.h"
#include "snapshot/libvirt/connection.h"

struct bm_guard;

struct bm_progress {
    enum bm_state state;
    uint64_t bytes_done, bytes_total; /* of the phase; total 0: not known */
    uint64_t rate;                    /* bytes/s */
    int64_t elapsed_ms;
    /* microseconds: the guest's mean latency and what it is held under; 0:
     * not known, not limited */
    double latency_us, bound_us;
    bool paused; /* by the user: job pause */
};

/* What cli/ gives to a move. Called from the moving thread. */
struct bm_move_hooks {
    void *opaque;
    void (*progress)(void *opaque, const struct bm_job *job,
                     const struct bm_progress *progress);
    /* a state was entered, or something worth a line happened */
    void (*event)(void *opaque, const struct bm_job *job, const char *text);
    /* true once the user asked to stop (SIGINT, SIGTERM) */
    bool (*cancelled)(void *opaque);
    /* what the user asked of a settled job; or NULL */
    enum bm_wish (*wish)(void *opaque);
    /* what the user has set since the last call, or false; or NULL */
    bool (*steer)(void *opaque, struct bm_steer *out);
    /* true while the user wants it to stand still; or NULL */
    bool (*paused)(void *opaque);
};

/*
 * The guard must be forked before any thread or connection exists
 * (bm_guard_start, guard.h). The caller holds the job's run lock.
 * Runs the job to a resting state; job->state and job->exit_status say which.
 * Returns 0 when done; -EIO with BM_EXIT_UNREADABLE: done, but for the bad
 * sectors of a rescue; rolled back, also on request, returns the reason.
 */
int bm_move_run(struct bm_connection *conn, struct bm_job_store *store,
                struct bm_job *job, struct bm_guard *guard,
                const struct bm_move_hooks *hooks, struct bm_error *err);

/* `job resume`: looks at what is there, then goes on; or goes back; or goes
 * on without a proof that cannot be made any more (only a held job, or one
 * that could not read its old image; the source is then kept). */
enum bm_resume { BM_RESUME_ON, BM_RESUME_BACK, BM_RESUME_ACCEPT };
int bm_move_resume(struct bm_connection *conn, struct bm_job_store *store,
                   struct bm_job *job, struct bm_guard *guard,
                   enum bm_resume how, const struct bm_move_hooks *hooks,
                   struct bm_error *err);

/* `job release`: deletes a kept source after a fresh check of its users. */
int bm_move_release(struct bm_connection *conn, struct bm_job_store *store,
                    struct bm_job *job, struct bm_error *err);

#endif
