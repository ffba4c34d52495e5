// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Steps of the staged move, for staged.c; the first half is for every
 * strategy that copies with our own engine (replica.h).
 */
#ifndef BM_STRATEGY_STAGED_PRIVATE_H
#define BM_STRATEGY_STAGED_PRIVATE_H

#include "blockmig/datastore/liveness.h"
#include "blockmig/run/run.h"
#include "blockmig/replica/replica.h"

#include <pthread.h>
#include <stdatomic.h>

/* The stages of all disks, open for one step. */
struct bm_staged;
typedef int (*bm_staged_work)(struct bm_staged *s, size_t i,
                              struct bm_error *err);
struct bm_staged_how {
    char name[64];
    struct bm_stage_how how;
};
struct bm_staged {
    struct bm_mover *m;
    struct bm_stage **stages;
    struct bm_staged_how *hows;
    struct bm_throttle *throttle;
    uint64_t before, total; /* bytes, for the progress */
    size_t layer;           /* whose stages these are: 0, the new image's */
    bm_staged_work work;
    struct bm_error error;
    /* of the moving thread, which waits beside the work */
    struct bm_patience patience;
    atomic_uint_fast64_t moved; /* bytes */
    pthread_mutex_t lock;       /* guards left */
    pthread_cond_t never;
    bool left; /* the work hangs, and was left behind */
};

/* Opens all stages, does the work for one disk after the other, in a thread of
 * low priority and at the pace of the move, and closes them: QEMU must find
 * nobody in the new images. -ETIMEDOUT: a store hangs, and the work with it; it
 * is left behind, and the process can only end. */
int bm_staged_each(struct bm_mover *m, bm_staged_work work,
                   struct bm_error *err);
/* The same for the layers below the new images, one after the other, from the
 * base up: s->layer says which. */
int bm_staged_lower(struct bm_mover *m, bm_staged_work work,
                    struct bm_error *err);
/* The stage of one layer of disk i, besides those that are open; `how` must
 * stay as long as it. The caller closes it. */
int bm_staged_open(struct bm_staged *s, size_t i, size_t layer,
                   struct bm_staged_how *how, struct bm_stage **out,
                   struct bm_error *err);

/* The chain of a new layer, and of the old one that it is made from; both
 * borrowed. */
struct bm_chain bm_staged_new(const struct bm_job_disk *disk, size_t layer);
struct bm_chain bm_staged_old(const struct bm_job_disk *disk, size_t layer);
/* The files of all the stages of a disk go away. */
int bm_staged_forget(struct bm_mover *m, const struct bm_job_disk *disk,
                     struct bm_error *err);

/* --- a chain that is kept (staged-layer.c) --- */

/* For bm_staged_lower: what the old layer holds, into the new one. */
int bm_staged_copy_layer(struct bm_staged *s, size_t i, struct bm_error *err);
/* When layer s->layer of disk i is proven: it holds nothing else. */
int bm_staged_bounds(struct bm_staged *s, size_t i, struct bm_error *err);
/* When a new image is proven, and all below it: the digests of the whole disk
 * are in its stage. */
int bm_staged_fill(struct bm_staged *s, size_t i, struct bm_error *err);

/* The new layer is as we want it now; and whether somebody has written to one
 * since, or to any. A block device is never touched. ours: nobody but us knows
 * of it yet, so not even a time that was set back goes unseen; later libvirt
 * changes owners and labels. */
void bm_staged_keep_time(struct bm_job_disk *disk, size_t layer);
bool bm_staged_touched(const struct bm_job_disk *disk, size_t layer, bool ours);
bool bm_staged_any_touched(const struct bm_job_disk *disk, bool ours);

/* A rescue: where the map of each disk will be; in the journal. */
int bm_staged_maps(struct bm_mover *m, struct bm_error *err);
/* Keeps what a rescue has left of disk i in the job; not saved. */
int bm_staged_gaps(struct bm_staged *s, size_t i, struct bm_error *err);

/* Proves what is written of the new layer s->layer of disk i, and repairs it
 * from the view; fills what the report says of that, and keeps the time. */
int bm_staged_prove(struct bm_staged *s, size_t i, const struct bm_chain *view,
                    struct bm_error *err);
/* All of the disk's proof is made: the report's digests. */
int bm_staged_record(struct bm_staged *s, size_t i, struct bm_error *err);
/* If somebody has written to that layer, all of it is proven again. */
int bm_staged_doubt(struct bm_staged *s, size_t i, const struct bm_chain *view,
                    struct bm_error *err);

/* --- staged alone --- */

/* The states copying, proving and iterating (staged-iterate.c). */
int bm_staged_copy(struct bm_mover *m, struct bm_error *err);
int bm_staged_prove_views(struct bm_mover *m, struct bm_error *err);
int bm_staged_iterate(struct bm_mover *m, struct bm_error *err);
/* A step failed: because the guest went off meanwhile? An abandoned call may
 * still do something, and who cancels wants no other way. */
bool bm_staged_went_off(struct bm_mover *m, int rc);
/* The guest is off, and its disks stand on their old images under our fronts.
 * The domain was read just now. */
bool bm_staged_off_at_source(struct bm_mover *m);

/* The guest is off, and all is in the new images: the saved XML names them. The
 * domain was read just now. -EAGAIN: back to iterating, as the guest runs, or
 * may have run. */
int bm_staged_switch_off(struct bm_mover *m, struct bm_error *err);
/* Back to iterating: -EAGAIN, or an error. */
int bm_staged_again(struct bm_mover *m, struct bm_error *err);

/* With or without the bridge: what every disk's `dest` is; in the journal. */
int bm_staged_bridge(struct bm_mover *m, bool there, struct bm_error *err);

/* After the switch of a running guest. */
int bm_staged_prove_rest(struct bm_mover *m, struct bm_error *err);
/* The bridge into the new image, and that proven; then the tiny overlay; then
 * what is left of the old side's fronts goes. */
int bm_staged_consolidate(struct bm_mover *m, struct bm_error *err);

#endif
