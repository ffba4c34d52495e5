// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which restore points go, and which images nobody needs as they are then.
 */
#include "blockmig/plan/merge-plan-private.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <string.h>

static int refuse(int code, struct bm_error *err)
{
    return bm_status(err, BM_EXIT_REFUSED), -code;
}

/* --- images --- */

/* An image that may go, and on which nothing stands, goes as it is; then the
 * one below it may be such one. */
static void drop(struct bm_merging *m)
{
    bool any = true;
    int one;

    while (any) {
        any = false;
        for (size_t i = 0; i < m->tree->n; i++) {
            if (!m->may_go[i] || m->dropped[i] ||
                bm_merging_over(m, (int)i, &one) > 0)
                continue;
            m->dropped[i] = any = true;
        }
    }
}

static bool of_a_point_that_goes(const struct bm_merging *m, int i)
{
    for (size_t p = 0; p < m->points->n; p++)
        if (m->points_go[p] &&
            bm_tree_is_point(m->tree, i, &m->points->list[p]))
            return true;
    return false;
}

static bool is_of_disk(const struct bm_merging *m, int i)
{
    int d = m->tree->list[i].disk;

    return !m->options->disk ||
           (d >= 0 && !strcmp(m->domain->disks[d].target, m->options->disk));
}

/* No restore point, but one layer among others. The end of a chain may be
 * somebody's template, which nobody can know. */
static bool is_unnamed_layer(const struct bm_merging *m, int i)
{
    return bm_tree_children(m->tree, i) > 0 &&
           (m->tree->list[i].below >= 0 || m->options->force);
}

/* unnamed: also those that are no restore point at all. */
static void choose_images(struct bm_merging *m, bool unnamed)
{
    const char *why;
    int one;

    for (size_t i = 0; i < m->tree->n; i++) {
        m->dropped[i] = false;
        m->may_go[i] = is_of_disk(m, (int)i) &&
                       (of_a_point_that_goes(m, (int)i) ||
                        (unnamed && is_unnamed_layer(m, (int)i))) &&
                       !bm_merging_is_needed(m, (int)i, &why);
    }
    drop(m);
    for (size_t i = 0; i < m->tree->n; i++)
        if (!m->dropped[i] && bm_merging_over(m, (int)i, &one) != 1)
            m->may_go[i] = false;
}

/* --- delete --- */

static int choose_delete(struct bm_merging *m, struct bm_error *err)
{
    const struct bm_restore_point *point =
        bm_restore_points_find(m->points, m->options->name);

    if (!point) {
        bm_fail(err, ENOENT, "domain %s has no snapshot %s", m->domain->name,
                m->options->name);
        bm_remedy(err, "see 'blockmig snapshot list %s'", m->domain->name);
        return refuse(ENOENT, err);
    }
    for (size_t p = 0; p < m->points->n; p++)
        m->points_go[p] =
            m->options->children
                ? bm_restore_points_descends(m->points, m->points->list[p].name,
                                             m->options->name)
                : &m->points->list[p] == point;
    choose_images(m, false);
    return 0;
}

/* --- consolidate --- */

static bool parent_stays(const struct bm_merging *m,
                         const struct bm_restore_point *point)
{
    for (size_t p = 0; point->parent && p < m->points->n; p++)
        if (!m->points_go[p] &&
            !bm_restore_point_internal(&m->points->list[p]) &&
            !strcmp(m->points->list[p].name, point->parent))
            return true;
    return false;
}

/* The oldest of those that stay; NULL: none. Internal ones are not ours. A
 * clock may have been set back: none is older than what it descends from. */
static const struct bm_restore_point *oldest(const struct bm_merging *m)
{
    const struct bm_restore_point *found = NULL;

    for (size_t p = 0; p < m->points->n; p++) {
        const struct bm_restore_point *point = &m->points->list[p];

        if (!m->points_go[p] && !bm_restore_point_internal(point) &&
            !parent_stays(m, point) &&
            (!found || point->created_s < found->created_s))
            found = point;
    }
    return found;
}

static size_t staying(const struct bm_merging *m)
{
    size_t n = 0;

    for (size_t p = 0; p < m->points->n; p++)
        n +=
            !m->points_go[p] && !bm_restore_point_internal(&m->points->list[p]);
    return n;
}

static void let_go(struct bm_merging *m, const struct bm_restore_point *point)
{
    m->points_go[point - m->points->list] = true;
}

/* How many images the disk has when all that may go is merged. */
static int64_t depth_of(const struct bm_merging *m, size_t disk)
{
    int64_t n = 0;

    for (int i = bm_tree_top(m->tree, m->domain, disk); i >= 0;
         i = m->tree->list[i].below)
        n += !m->may_go[i];
    return n;
}

/* -1: none of its images is. */
static int64_t deepest(const struct bm_merging *m, const char **target)
{
    int64_t most = -1;

    for (size_t d = 0; d < m->domain->n_disks; d++) {
        int64_t n = depth_of(m, d);

        if ((m->options->disk &&
             strcmp(m->domain->disks[d].target, m->options->disk) != 0) ||
            n <= most)
            continue;
        most = n;
        *target = m->domain->disks[d].target;
    }
    return most;
}

static int too_deep(const struct bm_merging *m, const char *target, int64_t n,
                    struct bm_error *err)
{
    const struct bm_disk *disk =
        bm_domain_disk((struct bm_domain *)m->domain, target);
    const char *why = NULL;
    int i;

    bm_fail(err, EBUSY, "cannot bring disk %s of %s down to %lld images",
            target, m->domain->name, (long long)m->options->depth);
    for (i = bm_tree_top(m->tree, m->domain, (size_t)(disk - m->domain->disks));
         i >= 0; i = m->tree->list[i].below)
        if (!m->may_go[i] && !m->tree->list[i].top &&
            bm_merging_must_stay(m, i, &why))
            break;
    if (i < 0 && !m->options->force)
        bm_remedy(err, "the end of the chain may be a template of somebody; "
                       "--force merges into that too");
    if (i >= 0) {
        bm_remedy(err, "'blockmig snapshot flatten' gives a disk one image of "
                       "its own");
        bm_cause(err, "%lld stay; %s must: %s", (long long)n,
                 m->tree->list[i].layer.path, why);
    } else {
        bm_cause(err, "%lld stay", (long long)n);
    }
    return refuse(EBUSY, err);
}

static int choose_consolidate(struct bm_merging *m, struct bm_error *err)
{
    const struct bm_merge_options *o = m->options;
    int64_t before_s = bm_wall_ms() / 1000 - o->older_than_ms / 1000;
    const char *target = NULL;

    for (size_t p = 0; o->older_than_ms && p < m->points->n; p++)
        m->points_go[p] = !bm_restore_point_internal(&m->points->list[p]) &&
                          m->points->list[p].created_s < before_s;
    while (o->keep >= 0 && staying(m) > (size_t)o->keep)
        let_go(m, oldest(m));
    choose_images(m, true);
    while (o->depth && deepest(m, &target) > o->depth) {
        const struct bm_restore_point *point = oldest(m);

        if (!point)
            return too_deep(m, target, deepest(m, &target), err);
        let_go(m, point);
        choose_images(m, true);
    }
    return 0;
}

int bm_merging_choose(struct bm_merging *m, struct bm_error *err)
{
    if (!strcmp(m->options->verb, "delete"))
        return choose_delete(m, err);
    if (!strcmp(m->options->verb, "commit"))
        return bm_merging_choose_commit(m, err);
    return choose_consolidate(m, err);
}
