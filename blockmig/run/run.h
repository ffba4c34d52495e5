// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One running job: entering its states, telling its progress, and reading the
 * domain again.
 *
 * Threads: the moving thread only.
 */
#ifndef BM_RUN_RUN_H
#define BM_RUN_RUN_H

#include "blockmig/run/context.h"

/* Enters a state: writes the journal first, then tells. */
int bm_run_enter(struct bm_run *run, enum bm_state state, struct bm_error *err);
void bm_run_progress(struct bm_run *run, uint64_t done, uint64_t total);
/* Reads the domain again; after a lost connection, connects again first.
 * -BM_NEEDS_OPERATOR: it is off, and will go on with our overlays
 * (bm_domain_away). */
int bm_run_refresh(struct bm_run *run, struct bm_error *err);
/* The same; -ENOENT: there is no such domain any more. */
int bm_run_refresh_domain(struct bm_run *run, struct bm_error *err);
/* After that, before a disk of it is changed: -ESTALE: it is off, and will go
 * on where it was, with the images as they are (bm_domain_away). */
int bm_run_check_away(const struct bm_run *run, struct bm_error *err);
/* After that: how many disks stand on their new image (BM_AT_DEST); the others
 * stand where they were. As bm_run_misplaced: one does not. */
int bm_run_count_arrived(struct bm_run *run, size_t *arrived,
                         struct bm_error *err);
/* The same for a way back: a chain that somebody has changed counts as where it
 * stood, if nothing of ours is in it. */
int bm_run_count_left(struct bm_run *run, size_t *arrived,
                      struct bm_error *err);
/* rc, after bm_run_count_arrived: nothing of ours was touched yet, so that a
 * chain that somebody has changed is no reason to be held. */
int bm_run_forgive_change(struct bm_run *run, int rc, struct bm_error *err);
/* A disk is on its new image alone, so that nothing can go back: consolidating,
 * and -EAGAIN. */
int bm_run_too_late(struct bm_run *run, struct bm_error *err);

/* As bm_run_take_requests, and returns when there is no pause (any more). A
 * cancel ends it.
 */
void bm_run_while_paused(struct bm_run *run);

#endif
