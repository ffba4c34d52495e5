// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The persistent dirty bitmaps of a qcow2 image, by qemu-img: what backup
 * programs (libvirt's checkpoints are such bitmaps) find in it to copy only
 * what changed. An image that QEMU has open for writing shows none: it writes
 * them down when it closes the image, or opens it again for reading only.
 */
#ifndef BM_NBD_IMAGE_IMAGE_BITMAPS_H
#define BM_NBD_IMAGE_IMAGE_BITMAPS_H

#include "nbd/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bm_image_bitmap {
    char *name;
    uint64_t granularity; /* bytes a bit */
    bool enabled;         /* records what is written */
    bool broken; /* was not written down (QEMU was killed): of no use */
};

/* Free with bm_image_bitmaps_clear. */
struct bm_image_bitmaps {
    struct bm_image_bitmap *list;
    size_t n;
};
void bm_image_bitmaps_clear(struct bm_image_bitmaps *bitmaps);

/* Those of an image; none for a format that has none. */
int bm_image_bitmaps_read(const char *path, const char *format,
                          struct bm_image_bitmaps *out, struct bm_error *err);
/* NULL: there is none of that name. Borrowed. */
const struct bm_image_bitmap *
bm_image_bitmaps_find(const struct bm_image_bitmaps *bitmaps, const char *name);

/*
 * Both change a qcow2 that nobody has open (-EBUSY: someone has). Durable only
 * after bm_fsync_file.
 *
 * take: the bitmap of another qcow2. Either (add) none of that name is there,
 * and it is made with the same granularity, enabled or not; or it is merged
 * into the one that is there, which can be done again.
 */
int bm_image_bitmap_take(const char *path, const struct bm_image_bitmap *bitmap,
                         const char *from, bool add, struct bm_error *err);
int bm_image_bitmap_remove(const char *path, const char *name,
                           struct bm_error *err);

#endif
