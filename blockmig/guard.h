// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The guard: a child, forked before any thread or connection exists, with a
 * libvirt connection of its own. While it is armed it resumes the guest when
 * its pipe closes (we died) or the bound passes: only a pause that is ours.
 * A kill -9 of the mover in the switch window leaves a running guest.
 */
#ifndef BM_GUARD_H
#define BM_GUARD_H

#include "nbd/error.h"

struct bm_guard;

/* Forks. uri may be NULL. Must be called while the process has one thread. */
int bm_guard_start(const char *uri, struct bm_guard **out,
                   struct bm_error *err);
/* Disarms nothing by itself: an armed guard acts when its pipe closes. */
void bm_guard_stop(struct bm_guard *guard); /* accepts NULL */

/* The guard has its connection, knows the domain (by UUID) and watches: from
 * now at most bound_ms until bm_guard_disarm. Waits for its answer. */
int bm_guard_arm(struct bm_guard *guard, const char *uuid, int bound_ms,
                 struct bm_error *err);
/* -ETIME: the bound had passed, the guard has resumed the guest already. */
int bm_guard_disarm(struct bm_guard *guard, struct bm_error *err);

#endif
