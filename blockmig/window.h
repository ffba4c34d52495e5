// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The switch window: suspend, pivot all disks, freeze the new side, resume.
 * One instant for all disks, so that the old image and the frozen new one
 * can be compared afterwards (design.md section 3, step 5).
 */
#ifndef BM_WINDOW_H
#define BM_WINDOW_H

#include "blockmig/job.h"
#include "snapshot/domain.h"

struct bm_mover;

/*
 * The middle of the window, from wherever it stands: asks for the pivot of
 * each disk whose copy is ready, waits until every disk is on its target,
 * then (with a proof) puts the overlays on top. Used by the mover, by the
 * guard when the mover died, and by recovery; all by what the domain shows.
 * 0: every disk stands on its overlay (without a proof: on its target).
 */
int bm_window_finish(struct bm_connection *conn, struct bm_domain *domain,
                     const struct bm_job *job, int timeout_ms,
                     struct bm_error *err);

/* The guest is paused by us: finish, then resume it whatever came of it. If it
 * must run before the new side is frozen, the mark is left first. */
int bm_window_end(struct bm_mover *m, struct bm_error *err);

/* The whole window, with the guard armed; tries again when the suspend was
 * too slow. -EAGAIN never leaves here. */
int bm_window_switch(struct bm_mover *m, struct bm_error *err);

#endif
