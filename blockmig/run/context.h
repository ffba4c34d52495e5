// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the steps of one running job share: the job with its journal, the
 * domain as last seen, the guard, and what cli/ wants to hear.
 *
 * Threads: the moving thread only.
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

struct bm_run {
    struct bm_connection *conn; /* borrowed */
    struct bm_job_store *jobs;  /* borrowed */
    struct bm_job *job;         /* borrowed */
    struct bm_guard *guard;     /* borrowed */
    struct bm_pacing *pacing;   /* owned; NULL: there is no pace */
    const struct bm_run_hooks *hooks;
    const struct bm_strategy_ops *ops; /* the strategy's (strategy.h) */
    struct bm_domain *domain;          /* owned; NULL: gone */
    struct bm_error reason;            /* why we go back; code 0: no reason */
    int *locks;                        /* owned; what a cold move holds */
    size_t n_locks;
    bool stops_elsewhere; /* bm_run_stop_at: not in job->state */
    enum bm_state stop_at;
    bool ran;          /* the guest ran in the window, resumed by someone */
    int retries;       /* of steps that met a change of the world */
    int64_t phase_ms;  /* bm_now_ms when the state was entered, and later by as
                        * long as it was paused */
    int64_t paused_ms; /* bm_now_ms when the pause began */
    enum bm_space_verdict space;
    struct bm_error space_why; /* unless it is watched still */
    int64_t space_ms;          /* bm_now_ms of the last look; 0: none yet */
    unsigned abandoned;        /* bm_calls_abandoned before it began */
    int space_pauses;          /* of the guest, for want of it, that we ended */
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
