// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the steps of one running move share: the job with its journal, the
 * domain as last seen, the guard, and what cli/ wants to hear.
 *
 * Threads: the moving thread only.
 */
#ifndef BM_RUN_RUN_H
#define BM_RUN_RUN_H

#include "blockmig/engine/engine.h"
#include "snapshot/blockjob/blockjob.h"
#include "snapshot/domain/domain.h"

struct bm_pacer;

/* What the watch over the room of our overlays has found (space-watch.h). */
enum bm_room {
    BM_ROOM_WATCHED,
    BM_ROOM_STOP,    /* too little: back, or on without any waiting */
    BM_ROOM_FORWARD, /* too little, and there is no way back */
};

struct bm_mover {
    struct bm_connection *conn; /* borrowed */
    struct bm_job_store *store; /* borrowed */
    struct bm_job *job;         /* borrowed */
    struct bm_guard *guard;     /* borrowed */
    struct bm_pacer *pacer;     /* owned; NULL: there is no pace */
    const struct bm_move_hooks *hooks;
    struct bm_domain *domain; /* owned; NULL: gone */
    struct bm_error reason;   /* why we go back; code 0: no reason */
    int *locks;               /* owned; what a cold move holds */
    size_t n_locks;
    bool ran;          /* the guest ran in the window, resumed by someone */
    int retries;       /* of steps that met a change of the world */
    int64_t phase_ms;  /* bm_now_ms when the state was entered, and later by as
                        * long as it was paused */
    int64_t paused_ms; /* bm_now_ms when the pause began */
    enum bm_room room;
    struct bm_error room_why; /* unless it is watched still */
    int64_t room_ms;          /* bm_now_ms of the last look; 0: none yet */
    unsigned abandoned;       /* bm_calls_abandoned before it began */
    int room_pauses;          /* of the guest, for want of it, that we ended */
};

/* Enters a state: writes the journal first, then tells. */
int bm_mover_enter(struct bm_mover *m, enum bm_state state,
                   struct bm_error *err);
/* Writes the journal; text NULL: no event. */
int bm_mover_save(struct bm_mover *m, const char *text, struct bm_error *err);
/* An event for the store and the user. */
int bm_mover_note(struct bm_mover *m, struct bm_error *err, const char *fmt,
                  ...) __attribute__((format(printf, 3, 4)));
void bm_mover_progress(struct bm_mover *m, uint64_t done, uint64_t total);
/* A cancel was asked for; from then on job->cancel. */
bool bm_mover_asked_to_cancel(struct bm_mover *m);
/* The move shall stop: for that, or since room is short. */
bool bm_mover_cancelled(struct bm_mover *m);
/* Keeps the first reason for going back. */
void bm_mover_blame(struct bm_mover *m, const struct bm_error *err);
/* Lets go of the images that a cold move holds. */
void bm_mover_unlock(struct bm_mover *m);
/* Reads the domain again; after a lost connection, connects again first.
 * -BM_STUCK: it is off, and will go on with our overlays (bm_domain_away). */
int bm_mover_refresh(struct bm_mover *m, struct bm_error *err);
/* The same; -ENOENT: there is no such domain any more. */
int bm_mover_refresh_domain(struct bm_mover *m, struct bm_error *err);
/* After that, before a disk of it is changed: -ESTALE: it is off, and will go
 * on where it was, with the images as they are (bm_domain_away). */
int bm_mover_check_away(const struct bm_mover *m, struct bm_error *err);
/* After that: how many disks stand on their new image (BM_AT_DEST); the others
 * stand where they were. As bm_mover_misplaced: one does not. */
int bm_mover_arrived(struct bm_mover *m, size_t *arrived, struct bm_error *err);
/* The same for a way back: a chain that somebody has changed counts as where it
 * stood, if nothing of ours is in it. */
int bm_mover_left(struct bm_mover *m, size_t *arrived, struct bm_error *err);
/* rc, after bm_mover_arrived: nothing of ours was touched yet, so that a chain
 * that somebody has changed is no reason to be held. */
int bm_mover_changed(struct bm_mover *m, int rc, struct bm_error *err);
/* A disk is on its new image alone, so that nothing can go back: consolidating,
 * and -EAGAIN. */
int bm_mover_too_late(struct bm_mover *m, struct bm_error *err);
/* The live disk of job disk i, or NULL: it is not there any more. */
struct bm_disk *bm_mover_disk(struct bm_mover *m, size_t i);
/* -ESTALE with BM_EXIT_HELD: disk i is `where`, on the chain `found`; NULL:
 * on the one that the domain shows. */
int bm_mover_misplaced(struct bm_mover *m, size_t i, const char *where,
                       const struct bm_chain *found, struct bm_error *err);
/* Waits until the job of every disk (jobs[i] with an empty target: none) is
 * `wanted`. ECANCELED when a cancel came and is allowed; EIO when one failed
 * or no byte moved for five minutes; ECONNRESET: the connection is lost;
 * ETIMEDOUT: a store does not answer. */
int bm_mover_wait_jobs(struct bm_mover *m, struct bm_blockjob *jobs,
                       enum bm_jobstate wanted, bool can_cancel,
                       struct bm_error *err);
/* The same until one of them has completed; a cancel is allowed. */
int bm_mover_wait_first(struct bm_mover *m, struct bm_blockjob *jobs,
                        struct bm_error *err);

#endif
