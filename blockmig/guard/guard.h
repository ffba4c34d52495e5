// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The guard: a child, forked before any thread or connection exists, with a
 * libvirt connection of its own. While it is armed it ends the switch window
 * when its pipe closes (we died) or the bound passes: before a pivot was
 * announced it resumes the guest; after that it first tries to bring the
 * window to its end (pivot what is ready, freeze the new side), because then
 * the two sides are still of one instant. If it must resume without that, it
 * leaves a mark (guard-files.h) first: the old and the new image can then not
 * be compared any more.
 *
 * It resumes only a pause that came after bm_guard_suspending. A kill -9 of
 * the run in the window leaves a running guest. In the same way it thaws
 * file systems, after bm_guard_freezing.
 */
#ifndef BM_GUARD_GUARD_H
#define BM_GUARD_GUARD_H

#include "blockmig/job/job.h"
#include "nbd/base/error.h"

struct bm_guard;

/* Forks. uri may be NULL. Must be called while the process has one thread. */
int bm_guard_start(const char *uri, struct bm_guard **out,
                   struct bm_error *err);
/* Closes the pipe and, when the guard is idle, waits for its end. An armed
 * guard acts first. Accepts NULL. */
void bm_guard_stop(struct bm_guard *guard);

/* The guard connects, finds the domain, holds DIR/ID.guard, and answers. */
int bm_guard_arm(struct bm_guard *guard, const char *dir,
                 const struct bm_job *job, struct bm_error *err);
/* A suspend is about to be asked for: from now a pause is ours, and ends
 * after job->max_pause_ms. */
int bm_guard_suspending(struct bm_guard *guard, struct bm_error *err);
/* A freeze of the guest's file systems is about to be asked for: from now on
 * they are ours to thaw, after bm_agent_ms at the latest. */
int bm_guard_freezing(struct bm_guard *guard, struct bm_error *err);
/* A view is about to be served on that socket: when we die it is ended. */
int bm_guard_viewing(struct bm_guard *guard, const char *socket,
                     struct bm_error *err);
/* A pivot is about to be asked for. -ETIME: too late, the guest was resumed;
 * do not pivot. */
int bm_guard_pivoting(struct bm_guard *guard, struct bm_error *err);
/* -ETIME: the guard had to act (the guest runs already, or is thawed). */
int bm_guard_disarm(struct bm_guard *guard, struct bm_error *err);

#endif
