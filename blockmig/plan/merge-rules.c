// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/merge-plan-private.h"

size_t bm_merging_over(const struct bm_merging *m, int i, int *one)
{
    size_t n = 0;

    *one = -1;
    for (int k = bm_tree_child(m->tree, i, -1); k >= 0;
         k = bm_tree_child(m->tree, i, k)) {
        if (m->dropped[k])
            continue;
        *one = k;
        n++;
    }
    return n;
}

const struct bm_restore_point *bm_merging_point(const struct bm_merging *m,
                                                int i)
{
    for (size_t p = 0; p < m->points->n; p++)
        if (!m->points_go[p] &&
            bm_tree_is_point(m->tree, i, &m->points->list[p]))
            return &m->points->list[p];
    return NULL;
}

/* Nobody may take its view away, however few stand on it. */
bool bm_merging_is_needed(const struct bm_merging *m, int i, const char **why)
{
    const struct bm_tree_image *image = &m->tree->list[i];
    const struct bm_restore_point *point = bm_merging_point(m, i);

    *why = NULL;
    if (image->top)
        *why = "a disk stands on it";
    else if (image->other)
        *why = image->other;
    else if (image->broken || !image->there)
        *why = "it cannot be read";
    else if (point)
        *why = point->name;
    return *why != NULL;
}

bool bm_merging_must_stay(const struct bm_merging *m, int i, const char **why)
{
    int one;

    if (bm_merging_is_needed(m, i, why))
        return true;
    *why = "several images stand on it";
    for (int k = bm_tree_child(m->tree, i, -1); k >= 0;
         k = bm_tree_child(m->tree, i, k))
        if (m->tree->list[k].other)
            *why = m->tree->list[k].other;
    return bm_merging_over(m, i, &one) > 1;
}

int bm_merging_run(const struct bm_merging *m, int i)
{
    int below = m->tree->list[i].below, over;

    if (!m->may_go[i] || m->dropped[i] || (below >= 0 && m->may_go[below]))
        return -1;
    while (i >= 0 && m->may_go[i])
        if (bm_merging_over(m, i, &over), i = over, i < 0)
            return -1;
    return i;
}
