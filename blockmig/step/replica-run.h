// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The replicas of all disks of a running job (replica/), opened for one step.
 * The work on them is done in a thread of low priority, at the pace of the
 * move, for every strategy that copies with our own engine.
 *
 * Threads: called by the moving thread. The work runs in a thread of its own,
 * while the moving thread waits and watches the stores.
 */
#ifndef BM_STEP_REPLICA_RUN_H
#define BM_STEP_REPLICA_RUN_H

#include "blockmig/datastore/liveness.h"
#include "blockmig/replica/replica.h"
#include "blockmig/run/run.h"

#include <pthread.h>
#include <stdatomic.h>

struct bm_replica_run;
typedef int (*bm_replica_work)(struct bm_replica_run *s, size_t i,
                               struct bm_error *err);
struct bm_replica_run_how {
    char name[64];
    struct bm_replica_how how;
};

struct bm_replica_run {
    struct bm_run *run;
    struct bm_replica **replicas;
    struct bm_replica_run_how *hows;
    struct bm_rate_limit *rate_limit;
    uint64_t before, total; /* bytes, for the progress */
    size_t layer;           /* whose replicas these are: 0, the new image's */
    bm_replica_work work;
    struct bm_error error;
    /* of the moving thread, which waits beside the work */
    struct bm_stall_timer stall;
    atomic_uint_fast64_t moved; /* bytes */
    pthread_mutex_t lock;       /* guards left */
    pthread_cond_t never;
    bool left; /* the work hangs, and was left behind */
};

/* Opens all replicas, does the work for one disk after the other, in a thread
 * of low priority and at the pace of the move, and closes them: QEMU must find
 * nobody in the new images. -ETIMEDOUT: a store hangs, and the work with it; it
 * is left behind, and the process can only end. */
int bm_replica_run_each(struct bm_run *run, bm_replica_work work,
                        struct bm_error *err);
/* The same for the layers below the new images, one after the other, from the
 * base up: s->layer says which. */
int bm_replica_run_lower(struct bm_run *run, bm_replica_work work,
                         struct bm_error *err);
/* The replica of one layer of disk i, besides those that are open; `how` must
 * stay as long as it. The caller closes it. */
int bm_replica_run_open(struct bm_replica_run *s, size_t i, size_t layer,
                        struct bm_replica_run_how *how, struct bm_replica **out,
                        struct bm_error *err);
/* The chain of a new layer, and of the old one that it is made from; both
 * borrowed. */
struct bm_chain bm_replica_new_chain(const struct bm_job_disk *disk,
                                     size_t layer);
struct bm_chain bm_replica_old_chain(const struct bm_job_disk *disk,
                                     size_t layer);
/* The files of all the replicas of a disk go away. */
int bm_replica_run_forget(struct bm_run *run, const struct bm_job_disk *disk,
                          struct bm_error *err);
/* A rescue: where the map of each disk will be; in the journal. */
int bm_replica_run_name_maps(struct bm_run *run, struct bm_error *err);
/* Keeps what a rescue has left of disk i in the job; not saved. */
int bm_replica_run_keep_gaps(struct bm_replica_run *s, size_t i,
                             struct bm_error *err);

#endif
