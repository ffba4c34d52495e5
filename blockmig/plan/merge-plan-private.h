// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A merge in the planning, for the files merge-select.c and merge-plan.c.
 */
#ifndef BM_PLAN_MERGE_PLAN_PRIVATE_H
#define BM_PLAN_MERGE_PLAN_PRIVATE_H

#include "blockmig/plan/merge-plan.h"

struct bm_merging {
    const struct bm_domain *domain;
    const struct bm_restore_points *points;
    const struct bm_image_tree *tree;
    const struct bm_merge_options *options;
    bool *points_go; /* by number of the point */
    bool *may_go;    /* by number of the image: nobody wants its view as such */
    bool *dropped; /* nothing stands on it any more either: it goes as it is */
};

/* Which points go, and of which images the view may. */
int bm_merging_choose(struct bm_merging *m, struct bm_error *err);

int bm_merging_choose_commit(struct bm_merging *m, struct bm_error *err);

/* The restore point that stays, and whose state the image is; or NULL. */
const struct bm_restore_point *bm_merging_point(const struct bm_merging *m,
                                                int i);
/* Whether somebody other than the layers above needs the view of the image. */
bool bm_merging_is_needed(const struct bm_merging *m, int i, const char **why);
/* Whether the image is to keep its view: it is a restore point that stays, a
 * disk stands on it, somebody else needs it, it is not one layer among others.
 * *why: in words, if there is something to say; borrowed. */
bool bm_merging_must_stay(const struct bm_merging *m, int i, const char **why);
/* The images that stand on i and are not dropped: how many, and one of them
 * (or -1). */
size_t bm_merging_over(const struct bm_merging *m, int i, int *one);
/* The run that has i as its base: the uppermost, which keeps its view in it;
 * -1: i is no base. */
int bm_merging_run(const struct bm_merging *m, int i);

#endif
