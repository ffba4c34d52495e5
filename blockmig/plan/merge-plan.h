// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a snapshot command will do to restore points and images, written into a
 * bm_job that is not stored yet. It looks, and touches nothing.
 */
#ifndef BM_PLAN_MERGE_PLAN_H
#define BM_PLAN_MERGE_PLAN_H

#include "blockmig/job/job.h"
#include "snapshot/tree/image-tree.h"

struct bm_merge_options {
    const char *verb;       /* delete, commit, consolidate */
    const char *name;       /* delete: the restore point */
    bool children;          /* and all that descend from it */
    const char *disk;       /* commit, consolidate: NULL: all */
    const char *top, *base; /* commit: paths or vda[n]; NULL: the active layer,
                             * the end of the chain */
    int64_t depth;          /* consolidate: images a disk; 0: any */
    int64_t keep;           /* restore points; -1: all */
    int64_t older_than_ms;  /* those go; 0: none */
    bool force;             /* commit: restore points may go */
    enum bm_merge_proof proof;
    uint64_t bandwidth;   /* bytes/s, 0: none */
    double guest_latency; /* times what it was; 0: not held */
    int max_pause_ms;
};

/* Refused, with BM_EXIT_REFUSED: no such point, disk or layer; what can not be
 * done, and which image is in the way of it. */
int bm_merge_plan(struct bm_connection *conn, struct bm_domain *domain,
                  const struct bm_restore_points *points,
                  const struct bm_image_tree *tree,
                  const struct bm_merge_options *options, struct bm_job **out,
                  struct bm_error *err);

/* The plan as lines of text for people, one step a line. Caller frees. */
char *bm_merge_plan_text(const struct bm_job *job);

#endif
