// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How far a copy has come: a mapfile (nbd/map/mapfile.h) whose finished areas
 * are on the target durably, with the identities of both sides and a checksum
 * in its notes. Replaced atomically.
 */
#ifndef BM_IMAGECOPY_RESUME_STATE_H
#define BM_IMAGECOPY_RESUME_STATE_H

#include "nbd/map/bitmap.h"
#include "nbd/map/mapfile.h"

/* What must be the same when a copy goes on; strings are borrowed. */
struct bm_image_copy_identity {
    const char *source, *target;
    const char *source_id, *target_id; /* of the file: device, inode, ... */
    const char *format;                /* of the target */
    const char *source_format;         /* as it was given */
    const char *digest;                /* "none": none are taken */
    uint64_t size;
};

/* -EBADMSG: damaged; -ESTALE: of another copy; -ENOENT: none. *out has the
 * blocks (of BM_DIGEST_BLOCK) that are done. */
int bm_image_copy_state_load(const char *path,
                             const struct bm_image_copy_identity *identity,
                             struct bm_bitmap **out, struct bm_error *err);
int bm_image_copy_state_save(const char *path,
                             const struct bm_image_copy_identity *identity,
                             const struct bm_bitmap *done,
                             struct bm_error *err);

#endif
