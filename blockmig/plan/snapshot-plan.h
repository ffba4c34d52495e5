// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What `snapshot create` and `snapshot revert` will do, written into a bm_job
 * that is not stored yet. It looks, and touches nothing.
 */
#ifndef BM_PLAN_SNAPSHOT_PLAN_H
#define BM_PLAN_SNAPSHOT_PLAN_H

#include "blockmig/job/job.h"
#include "snapshot/tree/image-tree.h"

struct bm_snapshot_options {
    const char *name;        /* create: NULL: the time */
    const char *disks;       /* create: "vda,vdb"; NULL: all */
    const char *description; /* or NULL */
    const char *overlay_dir; /* absolute; NULL: beside the images */
    const char *state_dir;   /* a view: for its socket */
    bool memory, quiesce, force;
    int64_t max_depth;
    int max_pause_ms;
};

/* Refused, with BM_EXIT_REFUSED: the name is taken, or unknown; no such disk;
 * a disk that is no file or device. */
int bm_snapshot_plan_create(struct bm_connection *conn,
                            struct bm_domain *domain,
                            const struct bm_restore_points *points,
                            const struct bm_image_tree *tree,
                            const struct bm_snapshot_options *options,
                            struct bm_job **out, struct bm_error *err);
/* A fleeting view (copy on write). */
int bm_snapshot_plan_view(struct bm_connection *conn, struct bm_domain *domain,
                          const struct bm_restore_points *points,
                          const struct bm_snapshot_options *options,
                          struct bm_job **out, struct bm_error *err);
int bm_snapshot_plan_revert(struct bm_connection *conn,
                            struct bm_domain *domain,
                            const struct bm_restore_points *points,
                            const struct bm_image_tree *tree,
                            const struct bm_snapshot_options *options,
                            struct bm_job **out, struct bm_error *err);

/* A name that no file has, nor an overlay of the job (or NULL), for an overlay
 * on that image. Caller frees; NULL: out of memory, or of names. */
char *bm_snapshot_overlay_name(const char *image, const char *folder,
                               const struct bm_restore_points *points,
                               const struct bm_job *job, const char *name);

/* The plan as lines of text for people. Caller frees. */
char *bm_snapshot_plan_text(const struct bm_job *job);

#endif
