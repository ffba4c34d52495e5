// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree/image-tree.h"

#include "snapshot/tree/image-tree-others.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void bm_tree_clear(struct bm_image_tree *tree)
{
    for (size_t i = 0; i < tree->n; i++) {
        free(tree->list[i].layer.path);
        free(tree->list[i].layer.format);
        free(tree->list[i].other);
        free(tree->list[i].broken);
    }
    free(tree->list);
    free(tree->unread);
    memset(tree, 0, sizeof *tree);
}

/* --- looking --- */

int bm_tree_top(const struct bm_image_tree *tree,
                const struct bm_domain *domain, size_t disk)
{
    const struct bm_chain *chain = &domain->disks[disk].chain;

    return chain->n ? bm_tree_index(tree, chain->layers[0].path) : -1;
}

int bm_tree_child(const struct bm_image_tree *tree, int i, int after)
{
    for (size_t k = (size_t)after + 1; k < tree->n; k++)
        if (tree->list[k].below == i)
            return (int)k;
    return -1;
}

size_t bm_tree_children(const struct bm_image_tree *tree, int i)
{
    size_t n = 0;

    for (int k = bm_tree_child(tree, i, -1); k >= 0;
         k = bm_tree_child(tree, i, k))
        n++;
    return n;
}

size_t bm_tree_depth(const struct bm_image_tree *tree, int i)
{
    size_t n = 0;

    for (; i >= 0 && n <= tree->n; i = tree->list[i].below)
        n++;
    return n;
}

int bm_tree_chain(const struct bm_image_tree *tree, int i, struct bm_chain *out)
{
    int rc = 0;

    memset(out, 0, sizeof *out);
    for (; !rc && i >= 0 && out->n <= tree->n; i = tree->list[i].below)
        rc = bm_chain_add(out, &tree->list[i].layer);
    out->complete = true;
    if (rc)
        bm_chain_clear(out);
    return rc;
}

bool bm_tree_is_point(const struct bm_image_tree *tree, int i,
                      const struct bm_restore_point *point)
{
    for (size_t d = 0; d < point->n_disks; d++)
        if (point->disks[d].external && point->disks[d].image.n &&
            bm_tree_index(tree, point->disks[d].image.layers[0].path) == i)
            return true;
    return false;
}

/* --- adding --- */

/* Images and links that are not known yet, as the XML has them. */
static int add_chain(struct bm_image_tree *tree, const struct bm_chain *chain,
                     int disk, bool live)
{
    int below = -1;

    for (size_t l = chain->n; l-- > 0;) {
        const struct bm_layer *layer = &chain->layers[l];
        int i = bm_tree_index(tree, layer->path);

        if (layer->type == BM_SOURCE_NONE)
            continue;
        if (i < 0)
            i = bm_tree_add(tree, layer, disk);
        if (i < 0)
            return i;
        if (tree->list[i].below < 0)
            tree->list[i].below = below;
        tree->list[i].live |= live;
        below = i;
    }
    return 0;
}

int bm_tree_follow(struct bm_image_tree *tree, int i, int disk)
{
    for (size_t steps = 0; steps < BM_TREE_MAX; steps++) {
        struct bm_tree_image *image = &tree->list[i];
        struct bm_error why = BM_ERROR_INIT;
        struct bm_chain chain = {0};
        int rc, below;

        if (image->below >= 0 || !image->there || !image->layer.format ||
            (image->layer.type != BM_SOURCE_FILE &&
             image->layer.type != BM_SOURCE_BLOCK))
            return 0;
        /* it names nothing below: to be readable is all that it can be */
        if (!strcmp(image->layer.format, "raw") &&
            access(image->layer.path, R_OK) == 0)
            return 0;
        rc = bm_chain_add(&chain, &image->layer);
        rc = rc ? rc : bm_chain_step(&chain, &why);
        if (rc < 0 && !image->broken)
            image->broken = strdup(why.cause[0] ? why.cause : why.what);
        below = chain.n > 1 ? bm_tree_index(tree, chain.layers[1].path) : -1;
        if (chain.n > 1 && below < 0)
            below = bm_tree_add(tree, &chain.layers[1], disk);
        if (chain.n > 1)
            tree->list[i].below = below;
        bm_chain_clear(&chain);
        if (rc == -ENOMEM || below < 0)
            return rc == -ENOMEM ? rc : 0;
        i = below;
    }
    return 0;
}

/* --- the domain's own --- */

static int add_disk(struct bm_image_tree *tree, const struct bm_domain *domain,
                    size_t d)
{
    const struct bm_disk *disk = &domain->disks[d];
    int rc = add_chain(tree, &disk->chain, (int)d, domain->active), top;

    if (!rc && domain->active)
        rc = add_chain(tree, &disk->inactive, (int)d, false);
    top = rc ? -1 : bm_tree_top(tree, domain, d);
    if (top >= 0)
        tree->list[top].top = true;
    if (top >= 0 && domain->active && disk->inactive.n) {
        int saved = bm_tree_index(tree, disk->inactive.layers[0].path);

        if (saved >= 0)
            tree->list[saved].top = true;
    }
    /* what a shut-off domain's XML does not say, the headers do */
    for (size_t i = 0; !rc && i < tree->n; i++)
        if (tree->list[i].disk == (int)d && tree->list[i].below < 0 &&
            !(domain->active && disk->chain.complete))
            rc = bm_tree_follow(tree, (int)i, (int)d);
    return rc;
}

static int disk_number(const struct bm_domain *domain, const char *target)
{
    for (size_t d = 0; d < domain->n_disks; d++)
        if (!strcmp(domain->disks[d].target, target))
            return (int)d;
    return -1;
}

/* What the point put on it may be gone, merged or left: then there is no such
 * file, and nothing to add. */
static int add_overlay(struct bm_image_tree *tree, const char *path, int d)
{
    struct bm_layer layer = {.type = BM_SOURCE_FILE,
                             .path = (char *)path,
                             .format = (char *)"qcow2"};
    struct stat st;
    int i;

    if (!path || bm_tree_index(tree, path) >= 0 || stat(path, &st) < 0 ||
        !S_ISREG(st.st_mode))
        return 0;
    i = bm_tree_add(tree, &layer, d);
    return i < 0 ? i : bm_tree_follow(tree, i, d);
}

static int add_point(struct bm_image_tree *tree, const struct bm_domain *domain,
                     const struct bm_restore_point *point)
{
    int rc = 0;

    for (size_t k = 0; !rc && k < point->n_disks; k++) {
        const struct bm_restore_point_disk *disk = &point->disks[k];
        int d = disk_number(domain, disk->target), i;

        if (!disk->external || !disk->image.n)
            continue;
        i = bm_tree_index(tree, disk->image.layers[0].path);
        if (i < 0)
            i = bm_tree_add(tree, &disk->image.layers[0], d);
        rc = i < 0 ? i : bm_tree_follow(tree, i, d);
        if (!rc)
            rc = add_overlay(tree, disk->overlay, d);
    }
    return rc;
}

int bm_tree_find(struct bm_connection *conn, struct bm_domain *domain,
                 const struct bm_restore_points *points, bool others,
                 struct bm_image_tree *out, struct bm_error *err)
{
    int rc = 0;

    memset(out, 0, sizeof *out);
    for (size_t d = 0; !rc && d < domain->n_disks; d++)
        rc = add_disk(out, domain, d);
    for (size_t p = 0; !rc && p < points->n; p++)
        rc = add_point(out, domain, &points->list[p]);
    if (rc)
        rc = bm_fail_errno(err, -rc, "cannot list the images of %s",
                           domain->name);
    if (!rc && others)
        rc = bm_tree_add_others(conn, domain, out, err);
    if (rc)
        bm_tree_clear(out);
    return rc;
}
