// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One merge of a job: layers of a disk go down into the one below them, by
 * libvirt under a running guest, by qemu-img where nobody stands on them; that
 * is proven, then whatever named them names what took them, and they go. Each
 * part looks at what is there, and can be done again.
 */
#ifndef BM_MERGE_MERGE_H
#define BM_MERGE_MERGE_H

#include "blockmig/merge/locate.h"
#include "blockmig/run/run.h"

/* All of it, from wherever a dead process left it; run->domain was just read.
 * ECANCELED: a cancel came while it can stop, and what there is is valid. */
int bm_merge_run(struct bm_run *run, struct bm_job_merge *merge,
                 struct bm_error *err);
/* A cancel: ends what libvirt does of it. -BM_NEEDS_OPERATOR: half of several
 * layers are merged, so that those between are no valid images until it is
 * done. */
int bm_merge_stop(struct bm_run *run, struct bm_job_merge *merge,
                  struct bm_error *err);

/* The proof has failed: the disk stands on its old layers again, which have not
 * been changed. */
int bm_merge_undo(struct bm_run *run, struct bm_job_merge *merge,
                  struct bm_error *err);

/* --- its parts --- */

/* Before anything is written: nobody stands on what is written, or loses its
 * view, but the layer that the plan has there; and that does. live: under a
 * guest that runs. -ESTALE: it is not so. */
int bm_merge_check_stand(struct bm_run *run, const struct bm_job_merge *merge,
                         bool live, struct bm_error *err);
/* Before anything is done to them: the layers are the files that the plan was
 * made for, and no guest is off that will go on with them. -ESTALE: it is not
 * so. */
int bm_merge_check_files(struct bm_run *run, const struct bm_job_merge *merge,
                         struct bm_error *err);
/* rc of these two: what was begun is held, -BM_NEEDS_OPERATOR. */
int bm_merge_held(const struct bm_run *run, const struct bm_job_merge *merge,
                  int rc, struct bm_error *err);
/* Of layers that are merged: no guest runs on them, or will go on with them. */
int bm_merge_check_off(struct bm_run *run, const struct bm_job_merge *merge,
                       struct bm_error *err);
/* Layers that no guest runs on: until the descriptor in *held (-1: there is
 * nothing to hold) is closed none is started on them. -ESTALE with
 * BM_EXIT_HELD: one was. */
int bm_merge_hold(struct bm_run *run, const struct bm_job_merge *merge,
                  int *held, struct bm_error *err);
/* Held: notes what the uppermost is now. */
int bm_merge_stamp(struct bm_job_merge *merge, struct bm_error *err);
/* What was proven, for bm_merge_check_base. */
int bm_merge_mark_base(struct bm_job_merge *merge, struct bm_error *err);
/* -BM_NEEDS_OPERATOR: the base is not the file that was proven. */
int bm_merge_check_base(const struct bm_run *run,
                        const struct bm_job_merge *merge, struct bm_error *err);
/* Held: 1: it is not that any more. */
int bm_merge_stale(const struct bm_job_merge *merge, struct bm_error *err);

/* -EBADMSG with BM_EXIT_PROOF, and nothing was written: a layer is not what its
 * manifest says. */
int bm_merge_check_kept(struct bm_run *run, struct bm_job_merge *merge,
                        struct bm_error *err);
/* Before anything is written: the manifests of what loses its view go. */
int bm_merge_forget_kept(struct bm_run *run, const struct bm_job_merge *merge,
                         struct bm_error *err);
/* Where it must be made before (BM_PROOF_FULL), the digests of the view. */
int bm_merge_prove_before(struct bm_run *run, struct bm_job_merge *merge,
                          struct bm_error *err);
struct bm_merge_reading;
/* Layers that bm_merge_hold holds, by our own engine; *out as of
 * bm_merge_prove_ahead. ECANCELED: a cancel. -ENOTSUP, and nothing was written:
 * not these. */
int bm_merge_copy(struct bm_run *run, struct bm_job_merge *merge,
                  struct bm_merge_reading **out, struct bm_error *err);
/* Begins to read what the layers hold, while they are merged. NULL in *out: not
 * here; else the caller drops it. */
int bm_merge_prove_ahead(struct bm_run *run, struct bm_job_merge *merge,
                         struct bm_merge_reading **out, struct bm_error *err);
void bm_merge_prove_drop(struct bm_merge_reading *ahead); /* accepts NULL */
/* -EBADMSG with BM_EXIT_PROOF: what took the layers does not hold them. ahead:
 * what was begun before, or NULL. */
int bm_merge_prove(struct bm_run *run, struct bm_job_merge *merge,
                   struct bm_merge_reading *ahead, struct bm_error *err);
/* It is in the journal: what the proof kept goes. */
int bm_merge_prove_over(struct bm_run *run, struct bm_job_merge *merge,
                        struct bm_error *err);
/* Takes the points away whose state is a layer that will be written to. */
int bm_merge_forget_points(struct bm_run *run, const struct bm_job_merge *merge,
                           struct bm_error *err);
/* A point goes, and its file of memory. */
int bm_merge_forget(struct bm_run *run, struct bm_job_point *point,
                    struct bm_error *err);
/* What stands on the uppermost stands on the base; so say the saved XML and
 * the snapshots' metadata too. */
int bm_merge_rename(struct bm_run *run, const struct bm_job_merge *merge,
                    struct bm_error *err);
/* The layers go: when nobody uses them. */
int bm_merge_delete(struct bm_run *run, struct bm_job_merge *merge,
                    struct bm_error *err);

#endif
