// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What will be done: the disks chosen, the strategy, the target's names and
 * formats, written into a bm_job that is not stored yet.
 */
#ifndef BM_PLAN_MOVE_PLAN_H
#define BM_PLAN_MOVE_PLAN_H

#include "blockmig/job/job.h"
#include "blockmig/datastore/datastore.h"
#include "snapshot/domain/domain.h"

struct bm_move_options {
    const char *domain;
    const char *const *disks; /* target names or paths; NULL-terminated;
                               * NULL: all movable disks */
    const char *store;
    /* auto, staged, blockcopy, pull (a shut-off domain: cold) */
    const char *strategy;
    const char *format; /* keep, raw, qcow2 */
    const char *chain;  /* keep, flatten, all; NULL: keep where that can
                         * be */
    const char *name;   /* --name FILE, for one disk; or NULL */
    bool in_place;      /* the new image takes the place of the layers
                         * above this one, or of all if it is NULL */
    const char *base;
    const char *overlay_dir; /* or NULL */
    const char *overlay_on;  /* auto, source, target */
    uint64_t overlay_max;    /* bytes; 0: any */
    bool proof, source_delete, force, quiesce, drop_checkpoints;
    bool proof_asked; /* --proof full was given, and is not just the default */
    uint64_t bandwidth;
    int max_pause_ms;
    uint64_t switch_max;  /* bytes */
    int64_t settle_ms;    /* how long the way back stays open */
    double guest_latency; /* times what it was; 0: not held */
    bool rescue;          /* read around bad sectors */
    /* absolute, or a URI; NULL: none */
    const char *mapfile, *fill_from; /* each for one disk */
};

/*
 * Chooses disks (each named one must exist: status BM_EXIT_REFUSED if not;
 * without names all but cdroms, floppies and empty drives), target paths
 * (move-plan-names.c) and overlay paths. The job's state is planned.
 */
int bm_plan_make(struct bm_connection *conn, struct bm_domain *domain,
                 const struct bm_datastore *store,
                 const struct bm_move_options *options, struct bm_job **out,
                 struct bm_error *err);

/* The plan as lines of text for people, one step a line. Caller frees. */
char *bm_plan_text(const struct bm_job *job);

#endif
