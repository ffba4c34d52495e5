// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the steps of one running job share: the job with its journal, the
 * domain as last seen, the guard, and what cli/ wants to hear.
 *
 * Threads: the functions are for the owner of the run (struct bm_run).
 */
#ifndef BM_RUN_CONTEXT_H
#define BM_RUN_CONTEXT_H

#include "blockmig/job/job-store.h"
#include "blockmig/run/hooks.h"
#include "snapshot/domain/domain.h"
#include "snapshot/libvirt/connection.h"

struct bm_guard;
struct bm_strategy_ops;
struct bm_pacing;

/* What the watch over the room of our overlays has found (space-watch.h). */
enum bm_space_verdict {
    BM_SPACE_WATCHED,
    BM_SPACE_STOP,    /* too little: back, or on without any waiting */
    BM_SPACE_FORWARD, /* too little, and there is no way back */
};

/* Written by space-watch.c alone. */
struct bm_space_watch {
    enum bm_space_verdict verdict;
    struct bm_error why; /* unless it is watched still */
    int64_t looked_ms;   /* bm_now_ms of the last look; 0: none yet */
    unsigned abandoned;  /* bm_calls_abandoned before the run began */
    int pauses;          /* of the guest, for want of space, that we ended */
};

/* QEMU's locks on the images of a guest that is off (step/switch-off.c). */
struct bm_image_locks {
    int *fds; /* owned */
    size_t n;
};

/*
 * Who may touch which field:
 * - fixed: set before the first step, and only read from then on, by any
 * thread.
 * - owner: the thread that has the run. That is the moving thread; while
 *   bm_background_run goes on (step/replica-run.c) it is the thread of the
 * work, and the moving thread waits beside it, and touches only fixed fields.
 * - moving: the moving thread, and never while such work goes on.
 * A reader that goes on beside the moving thread (merge/layer-reader.c, ahead)
 * has a state of its own, and touches only fixed fields.
 */
struct bm_run {
    /* fixed; all borrowed */
    struct bm_connection *conn;
    struct bm_job_store *jobs;
    struct bm_guard *guard;
    const struct bm_run_hooks *hooks;
    const struct bm_strategy_ops *ops; /* the strategy's (strategy.h) */
    struct bm_job
        *job; /* what it points to: owner; job.h says who writes what */

    /* owner */
    struct bm_pacing *pacing; /* owned; NULL: latency is not controlled */
    struct bm_domain *domain; /* owned; NULL: gone */
    struct bm_space_watch watch;
    int64_t phase_ms;  /* bm_now_ms when the state was entered, and later by as
                        * long as it was paused */
    int64_t paused_ms; /* bm_now_ms when the pause began */

    /* moving */
    struct bm_error reason; /* why we go back; code 0: no reason */
    struct bm_image_locks locked;
    bool stops_elsewhere; /* bm_run_stop_at: not in job->state */
    enum bm_state stop_at;
    bool ran;    /* the guest ran in the window, resumed by someone */
    int retries; /* of steps that met a change of the world */
};

/* Writes the journal; text NULL: no event. */
int bm_run_save(struct bm_run *run, const char *text, struct bm_error *err);
/* An event for the store and the user. */
int bm_run_note(struct bm_run *run, struct bm_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A cancel was asked for; from then on job->cancel. */
bool bm_run_asked_to_cancel(struct bm_run *run);
/* The move shall stop: for that, or since room is short. */
bool bm_run_cancelled(struct bm_run *run);
/* rc. When the job stops for it (held, needs-recovery), `job resume` goes on in
 * that state, not in the one that the job is in. */
int bm_run_stop_at(struct bm_run *run, enum bm_state state, int rc);
/* Keeps the first reason for going back. */
void bm_run_keep_reason(struct bm_run *run, const struct bm_error *err);
/* Lets go of the images that a cold move holds. */
void bm_run_unlock(struct bm_run *run);
/* -ESTALE with BM_EXIT_HELD: disk i is `where`, on the chain `found`; NULL:
 * on the one that the domain shows. */
int bm_run_misplaced(struct bm_run *run, size_t i, const char *where,
                     const struct bm_chain *found, struct bm_error *err);
/* The live disk of job disk i, or NULL: it is not there any more. */
struct bm_disk *bm_run_disk(struct bm_run *run, size_t i);

#endif
