// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * QEMU's own lock on image files. Threads: any.
 */
#ifndef BM_NBD_IMAGE_IMAGE_LOCK_H
#define BM_NBD_IMAGE_IMAGE_LOCK_H

#include "nbd/base/error.h"

#include <stdbool.h>

/*
 * QEMU's own "others may not write" lock on a file: an OFD read lock on byte
 * 201 (QEMU block/file-posix.c, RAW_LOCK_SHARED_BASE + BLK_PERM_WRITE). While
 * it is held no QEMU opens the file for writing. Returns a descriptor that
 * holds it (close to release), or a negative errno; -EBUSY: someone has the
 * image open for writing. Block devices are locked the same way, but there
 * the lock binds only those who use the same /dev node: not a guest to which
 * libvirt gave a /dev of its own.
 */
int bm_frozen_lock(const char *path, struct bm_error *err);

/* The same lock on a descriptor of the caller's, open for reading at least;
 * it goes with the descriptor. 0 or a negative errno. */
int bm_reader_lock(int fd, const char *path, struct bm_error *err);

/* Whether anybody, a QEMU most likely, has it open for writing. */
int bm_image_written(const char *path, bool *out, struct bm_error *err);

/*
 * For a writer: nobody else may have it open for writing, or will while the
 * descriptor is open, nor read it as an image at rest: read locks on the bytes
 * 101 (we write) and 200, 201 (nobody may read consistently or write). Given
 * a descriptor open for reading at least; its locks go with it. -EBUSY: some
 * QEMU has it open.
 */
int bm_writer_lock(int fd, const char *path, struct bm_error *err);

#endif
