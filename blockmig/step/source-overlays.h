// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The source overlays: overlays of ours on the old side of a staged move. The
 * guest writes to the uppermost one; what is below it is frozen. Each freeze is
 * one transaction for all disks, in the journal before it is asked for; a
 * disk's `source` always is the chain that it stands on.
 */
#ifndef BM_STEP_SOURCE_OVERLAYS_H
#define BM_STEP_SOURCE_OVERLAYS_H

#include "blockmig/run/run.h"

/* Puts one more on every disk. The guest must run. */
int bm_source_overlays_freeze(struct bm_run *run, struct bm_error *err);
/* After bm_run_refresh: takes up a freeze that a dead process asked for. */
int bm_source_overlays_adopt(struct bm_run *run, struct bm_error *err);
/* Bytes that the uppermost source overlays hold on the host. */
uint64_t bm_source_overlays_bytes(const struct bm_job *job);

/* The way back: all source overlays of disk i go down into the old image, and
 * away. */
int bm_source_overlays_commit(struct bm_run *run, size_t i,
                              struct bm_error *err);
/* The way forth: nobody needs them any more. */
int bm_source_overlays_remove(struct bm_run *run, size_t i,
                              struct bm_error *err);

#endif
