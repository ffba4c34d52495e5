// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The images of a domain and who stands on whom: the chains of its disks, the
 * branches that its restore points name, and every other image known that
 * stands on one of these. A picture of one moment.
 */
#ifndef BM_SNAPSHOT_TREE_IMAGE_TREE_H
#define BM_SNAPSHOT_TREE_IMAGE_TREE_H

#include "snapshot/tree/restore-point.h"

struct bm_tree_image {
    struct bm_layer layer; /* owned */
    int below;             /* its backing image; -1: none */
    int disk;              /* of the domain, by number */
    bool there;            /* the file exists */
    dev_t dev;
    ino_t ino;
    uint64_t held; /* bytes on its file system */
    bool live;     /* in the chain of a running guest, ours */
    bool top;      /* a disk of ours stands on it, live or saved */
    bool stray;    /* found in a folder: no domain names it, nor what stands on
                    * it */
    char *other;   /* somebody else needs it: "domain x"; or NULL */
    char *broken;  /* why its header could not be followed; or NULL */
};

struct bm_image_tree {
    struct bm_tree_image *list;
    size_t n;
    char *unread; /* a file or folder that others may need ours from, and that
                   * cannot be read: its name, and why; or NULL */
};

/* others: look for those who are not of this domain, too: every domain, and
 * every image in the folders of ours. Clear with bm_tree_clear. */
int bm_tree_find(struct bm_connection *conn, struct bm_domain *domain,
                 const struct bm_restore_points *points, bool others,
                 struct bm_image_tree *out, struct bm_error *err);
void bm_tree_clear(struct bm_image_tree *tree);
#define BM_IMAGE_TREE                                                          \
    __attribute__((cleanup(bm_tree_clear))) struct bm_image_tree

/* The image that a disk of the domain stands on; -1: none. */
int bm_tree_top(const struct bm_image_tree *tree,
                const struct bm_domain *domain, size_t disk);
/* The next image after `after` (-1: the first) that stands on i; -1: none. */
int bm_tree_child(const struct bm_image_tree *tree, int i, int after);
size_t bm_tree_children(const struct bm_image_tree *tree, int i);
/* How many images from i down to the base. */
size_t bm_tree_depth(const struct bm_image_tree *tree, int i);
/* The chain from i down to the base; the caller clears. */
int bm_tree_chain(const struct bm_image_tree *tree, int i,
                  struct bm_chain *out);
/* Whether that point's state of a disk is this image. */
bool bm_tree_is_point(const struct bm_image_tree *tree, int i,
                      const struct bm_restore_point *point);

#endif
