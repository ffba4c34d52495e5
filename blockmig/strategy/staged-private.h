// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The parts of the staged move, for the files staged*.c.
 */
#ifndef BM_STRATEGY_STAGED_PRIVATE_H
#define BM_STRATEGY_STAGED_PRIVATE_H

#include "blockmig/step/replica-run.h"

/* --- a chain that is kept (staged-layer.c) --- */

/* For bm_replica_run_lower: what the old layer holds, into the new one. */
int bm_staged_copy_layer(struct bm_replica_run *s, size_t i,
                         struct bm_error *err);
/* When layer s->layer of disk i is proven: it holds nothing else. */
int bm_staged_bounds(struct bm_replica_run *s, size_t i, struct bm_error *err);
/* When a new image is proven, and all below it: the digests of the whole disk
 * are in its replica. */
int bm_staged_fill(struct bm_replica_run *s, size_t i, struct bm_error *err);

/* Proves what is written of the new layer s->layer of disk i, and repairs it
 * from the view; fills what the report says of that, and keeps the time. */
int bm_staged_prove(struct bm_replica_run *s, size_t i,
                    const struct bm_chain *view, struct bm_error *err);
/* All of the disk's proof is made: the report's digests. */
int bm_staged_record(struct bm_replica_run *s, size_t i, struct bm_error *err);
/* If somebody has written to that layer, all of it is proven again. */
int bm_staged_doubt(struct bm_replica_run *s, size_t i,
                    const struct bm_chain *view, struct bm_error *err);

/* --- staged alone --- */

/* The states copying, proving and iterating (staged-iterate.c). */
int bm_staged_copy(struct bm_run *run, struct bm_error *err);
int bm_staged_prove_views(struct bm_run *run, struct bm_error *err);
int bm_staged_iterate(struct bm_run *run, struct bm_error *err);
/* A step failed: because the guest went off meanwhile? An abandoned call may
 * still do something, and who cancels wants no other way. */
bool bm_staged_went_off(struct bm_run *run, int rc);
/* The guest is off, and its disks stand on their old images under our source
 * overlays. The domain was read just now. */
bool bm_staged_off_at_source(struct bm_run *run);

/* The guest is off, and all is in the new images: the saved XML names them. The
 * domain was read just now. -EAGAIN: back to iterating, as the guest runs, or
 * may have run. */
int bm_staged_switch_off(struct bm_run *run, struct bm_error *err);
/* Back to iterating: -EAGAIN, or an error. */
int bm_staged_again(struct bm_run *run, struct bm_error *err);

/* With or without the mirror overlay: what every disk's `dest` is; in the
 * journal. */
int bm_staged_set_mirror_overlay(struct bm_run *run, bool there,
                                 struct bm_error *err);

/* After the switch of a running guest. */
int bm_staged_prove_rest(struct bm_run *run, struct bm_error *err);
/* The mirror overlay into the new image, and that proven; then the switch
 * overlay; then what is left of the old side's source overlays goes. */
int bm_staged_consolidate(struct bm_run *run, struct bm_error *err);

#endif
