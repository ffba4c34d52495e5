// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree/image-tree-index.h"
#include "nbd/base/paths.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

int bm_tree_index(const struct bm_image_tree *tree, const char *path)
{
    struct stat st;

    for (size_t i = 0; path && i < tree->n; i++)
        if (tree->list[i].layer.path && !strcmp(tree->list[i].layer.path, path))
            return (int)i;
    if (!path || stat(path, &st) < 0)
        return -1;
    for (size_t i = 0; i < tree->n; i++)
        if (tree->list[i].there && tree->list[i].dev == st.st_dev &&
            tree->list[i].ino == st.st_ino)
            return (int)i;
    return -1;
}

static int fill(struct bm_tree_image *image, const struct bm_layer *layer,
                int disk)
{
    struct stat st;

    memset(image, 0, sizeof *image);
    image->layer = *layer;
    image->layer.path = layer->path ? strdup(layer->path) : NULL;
    image->layer.format = layer->format ? strdup(layer->format) : NULL;
    image->below = -1;
    image->disk = disk;
    /* over a network: nobody can look from here */
    image->there =
        layer->type != BM_SOURCE_FILE && layer->type != BM_SOURCE_BLOCK;
    if (!image->there && layer->path && stat(layer->path, &st) == 0) {
        image->there = true;
        image->dev = st.st_dev;
        image->ino = st.st_ino;
        image->layer.id = bm_file_id(layer->path);
        image->held = (uint64_t)st.st_blocks * 512;
    }
    return (layer->path && !image->layer.path) ||
                   (layer->format && !image->layer.format)
               ? -ENOMEM
               : 0;
}

int bm_tree_add(struct bm_image_tree *tree, const struct bm_layer *layer,
                int disk)
{
    struct bm_tree_image *list =
        realloc(tree->list, (tree->n + 1) * sizeof *list);

    if (!list)
        return -ENOMEM;
    tree->list = list;
    if (fill(&list[tree->n], layer, disk) < 0) {
        free(list[tree->n].layer.path);
        free(list[tree->n].layer.format);
        return -ENOMEM;
    }
    return (int)tree->n++;
}
