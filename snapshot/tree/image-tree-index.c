// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree/image-tree-index.h"
#include "nbd/base/paths.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

int bm_kin_index(const struct bm_kin *kin, const char *path)
{
    struct stat st;

    for (size_t i = 0; path && i < kin->n; i++)
        if (kin->list[i].layer.path && !strcmp(kin->list[i].layer.path, path))
            return (int)i;
    if (!path || stat(path, &st) < 0)
        return -1;
    for (size_t i = 0; i < kin->n; i++)
        if (kin->list[i].there && kin->list[i].dev == st.st_dev &&
            kin->list[i].ino == st.st_ino)
            return (int)i;
    return -1;
}

static int fill(struct bm_kin_image *image, const struct bm_layer *layer,
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

int bm_kin_add(struct bm_kin *kin, const struct bm_layer *layer, int disk)
{
    struct bm_kin_image *list = realloc(kin->list, (kin->n + 1) * sizeof *list);

    if (!list)
        return -ENOMEM;
    kin->list = list;
    if (fill(&list[kin->n], layer, disk) < 0) {
        free(list[kin->n].layer.path);
        free(list[kin->n].layer.format);
        return -ENOMEM;
    }
    return (int)kin->n++;
}
