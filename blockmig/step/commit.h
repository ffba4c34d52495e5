// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Ends of a switched move: the switch overlay goes down into the new image, or
 * the whole disk goes back to the old one. Both for a running guest (libvirt)
 * and a shut-off one (qemu-img), and both from wherever a dead process left
 * them. No write of the guest is lost on either way.
 */
#ifndef BM_STEP_COMMIT_H
#define BM_STEP_COMMIT_H

#include "blockmig/run/run.h"
#include "snapshot/blockjob/blockjob.h"

int bm_commit_overlays(struct bm_run *run, struct bm_error *err);
int bm_undo(struct bm_run *run, struct bm_error *err);

/* The guest runs: active commit of the uppermost `down` layers of disk i into
 * the one below them. A pivot that does not end under load gets a short,
 * guarded pause. */
int bm_commit_running(struct bm_run *run, size_t i, size_t down,
                      struct bm_error *err);
/* The guest is off: the same by qemu-img, down into the first layer of
 * `result`, which then is the disk's chain in the saved XML. */
int bm_commit_off(struct bm_run *run, size_t i, const struct bm_chain *result,
                  struct bm_error *err);
/* -EBUSY with BM_EXIT_HELD: there is a block job on the disk, not ours. */
int bm_commit_foreign(struct bm_run *run, const char *target,
                      struct bm_error *err);
/* Asks for the pivot of a job that is ready, and waits for it, at last with the
 * guest paused. */
int bm_commit_pivot(struct bm_run *run, struct bm_blockjob *job,
                    struct bm_error *err);
/* Waits until a job of libvirt's has COMPLETED; 0 also when it did not in
 * time, or ended otherwise: look at its state. -ETIMEDOUT with BM_EXIT_HELD: it
 * does not move, and a store does not answer. */
int bm_commit_wait(struct bm_run *run, struct bm_blockjob *job, int timeout_ms,
                   struct bm_error *err);

#endif
