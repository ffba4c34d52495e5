// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The dirty bitmaps of a disk on its way to a new image. Each layer of a chain
 * has a bitmap of the same name, for what was written while it was the active
 * one, and libvirt's next incremental backup takes all of them together. What
 * we copy beside QEMU brings none of that along.
 */
#ifndef BM_STEP_BITMAPS_H
#define BM_STEP_BITMAPS_H

#include "blockmig/run/run.h"

/* What a step did; free with bm_carried_clear. */
struct bm_carried {
    char *names; /* "a, b"; NULL: none */
    char *lost;  /* of no use where they are, or not for a raw image */
};
void bm_carried_clear(struct bm_carried *carried);

/*
 * Makes the bitmaps of the image those of n layers of a frozen view, from
 * `first` on, together, whatever the image had before; durable. One that is
 * of no use in the view is left out. The image and the view are not open for
 * writing anywhere. Can be done again.
 */
int bm_bitmaps_carry(const struct bm_chain *view, size_t first, size_t n,
                     const struct bm_layer *image, struct bm_carried *carried,
                     struct bm_error *err);
/* The same, of the uppermost n layers, for those that the image has not:
 * qemu-img has committed these layers into it, which marks what it writes in
 * those that are there. */
int bm_bitmaps_add(const struct bm_chain *view, size_t n,
                   const struct bm_layer *image, struct bm_error *err);

/* bm_bitmaps_carry from source, less `skip` layers, to each new image of a
 * disk; tells the user. */
int bm_bitmaps_move(struct bm_run *run, size_t i, int skip,
                    struct bm_error *err);

#endif
