// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* snapshot commit: from one layer that is named down to another. */
#include "blockmig/plan/merge-plan-private.h"
#include "snapshot/tree/image-tree-index.h"

#include <errno.h>
#include <string.h>

static int refuse(int code, struct bm_error *err)
{
    return bm_status(err, BM_EXIT_REFUSED), -code;
}

static int no_layer(const struct bm_merging *m, const char *name,
                    struct bm_error *err)
{
    bm_fail(err, ENOENT, "disk %s of %s has no layer %s", m->options->disk,
            m->domain->name, name);
    bm_remedy(err, "see 'blockmig snapshot tree %s'", m->domain->name);
    return refuse(ENOENT, err);
}

/* A path, or vda[n] with the number of the live XML. */
static int find_layer(const struct bm_merging *m, const struct bm_disk *disk,
                      const char *name, int otherwise, struct bm_error *err)
{
    const struct bm_layer *layer = name ? bm_disk_numbered(disk, name) : NULL;

    if (!name)
        return otherwise;
    if (layer)
        return bm_tree_index(m->tree, layer->path);
    for (int i = otherwise; i >= 0; i = m->tree->list[i].below)
        if (bm_tree_index(m->tree, name) == i)
            return i;
    return no_layer(m, name, err);
}

static int in_the_way(const struct bm_merging *m, int i, const char *why,
                      struct bm_error *err)
{
    const struct bm_restore_point *point = bm_merging_point(m, i);

    bm_fail(err, EBUSY, "cannot merge into or over %s",
            m->tree->list[i].layer.path);
    if (point) {
        bm_cause(err, "it is restore point %s", point->name);
        bm_remedy(err,
                  "delete that ('blockmig snapshot delete %s %s'), or let it "
                  "go by --force",
                  m->domain->name, point->name);
    } else {
        bm_cause(err, "%s", why);
    }
    return refuse(EBUSY, err);
}

static void let_points_go(struct bm_merging *m, int i)
{
    for (size_t p = 0; p < m->points->n; p++)
        if (bm_tree_is_point(m->tree, i, &m->points->list[p]))
            m->points_go[p] = true;
}

static int end_of(const struct bm_merging *m, int i)
{
    while (m->tree->list[i].below >= 0)
        i = m->tree->list[i].below;
    return i;
}

static int choose_layers(struct bm_merging *m, int top, int base,
                         struct bm_error *err)
{
    const char *why;
    int i = m->tree->list[top].below;

    for (;; i = m->tree->list[i].below) {
        if (i < 0) {
            bm_fail(err, EINVAL, "cannot merge %s into %s",
                    m->tree->list[top].layer.path,
                    m->tree->list[base].layer.path);
            bm_cause(err, "the first does not stand on the second");
            return refuse(EINVAL, err);
        }
        if (m->options->force)
            let_points_go(m, i);
        if (bm_merging_must_stay(m, i, &why))
            return in_the_way(m, i, why, err);
        m->may_go[i] = true;
        if (i == base)
            return 0;
    }
}

int bm_merging_choose_commit(struct bm_merging *m, struct bm_error *err)
{
    const struct bm_disk *disk =
        bm_domain_disk((struct bm_domain *)m->domain, m->options->disk);
    int top, base, active;

    if (!disk) {
        bm_fail(err, ENOENT, "domain %s has no disk %s", m->domain->name,
                m->options->disk);
        return refuse(ENOENT, err);
    }
    active = bm_tree_top(m->tree, m->domain, (size_t)(disk - m->domain->disks));
    if (active < 0)
        return no_layer(m, "at all", err);
    top = find_layer(m, disk, m->options->top, active, err);
    if (top < 0)
        return top;
    base = m->options->base ? find_layer(m, disk, m->options->base, active, err)
                            : end_of(m, top);
    if (base < 0)
        return base;
    if (base == top) {
        bm_fail(err, EINVAL, "cannot merge %s", m->tree->list[top].layer.path);
        bm_cause(err, "it stands on nothing, or on itself");
        return refuse(EINVAL, err);
    }
    return choose_layers(m, top, base, err);
}
