// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The making of a struct bm_image_tree, for the files tree*.c.
 */
#ifndef BM_SNAPSHOT_TREE_IMAGE_TREE_OTHERS_H
#define BM_SNAPSHOT_TREE_IMAGE_TREE_OTHERS_H

#include "snapshot/tree/image-tree-index.h"

#define BM_TREE_MAX 200u /* layers; libvirt stops there too */

/* Adds what image i stands on, by the headers, down to one that is known. */
int bm_tree_follow(struct bm_image_tree *tree, int i, int disk);
/* Marks what others need, and adds what stands on ours and is not ours. */
int bm_tree_add_others(struct bm_connection *conn,
                       const struct bm_domain *domain,
                       struct bm_image_tree *tree, struct bm_error *err);

#endif
