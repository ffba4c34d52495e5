// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The list of the images of a domain: finding one, and adding one.
 */
#ifndef BM_SNAPSHOT_TREE_IMAGE_TREE_INDEX_H
#define BM_SNAPSHOT_TREE_IMAGE_TREE_INDEX_H

#include "snapshot/tree/image-tree.h"

/* By path, or another path of the same file; -1: unknown. */
int bm_tree_index(const struct bm_image_tree *tree, const char *path);

/* Its number, or -ENOMEM. */
int bm_tree_add(struct bm_image_tree *tree, const struct bm_layer *layer,
                int disk);

#endif
