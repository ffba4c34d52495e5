// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The switch window: suspend, pivot all disks, freeze the new side, resume.
 * One instant for all disks, so that the old image and the frozen new one
 * can be compared afterwards (docs/internals.md, "The window").
 */
#ifndef BM_STEP_PIVOT_WINDOW_H
#define BM_STEP_PIVOT_WINDOW_H

#include "blockmig/run/run.h"

/* The guest is paused by us: finish, then resume it whatever came of it. If it
 * must run before the new side is frozen, the mark is left first. -ETIMEDOUT:
 * a call was abandoned, the guest is still paused, the guard has it. */
int bm_pivot_window_end(struct bm_run *run, struct bm_error *err);

/* A window whose run and guard are dead, and that is not to be finished: the
 * guest runs again. If a disk was switched, it may now write to a new image
 * that is not frozen: the mark is left. */
int bm_pivot_window_abandon(struct bm_run *run, struct bm_error *err);

/* The whole window, with the guard armed; tries again when the suspend was
 * too slow. -EAGAIN never leaves here. */
int bm_pivot_window_switch(struct bm_run *run, struct bm_error *err);

#endif
