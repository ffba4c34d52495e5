// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An open, read-only block device: any chain of images, served by a qemu-nbd
 * of our own on a private socket that dies with us, read by libnbd over
 * several connections.
 *
 * Threads: a device may be used by several threads at once, each with its
 * own connection number. Offsets and lengths are bytes.
 */
#ifndef BM_DEVICE_H
#define BM_DEVICE_H

#include "nbd/error.h"
#include "nbd/image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bm_device;

/*
 * Opens a frozen chain (see bm_image_spec) with `connections` connections.
 * Tries O_DIRECT first, so that a proof reads the medium; falls back to the
 * page cache where the file system has no O_DIRECT: bm_device_medium tells.
 * A frozen raw layer is not locked by qemu-nbd -r: hold bm_frozen_lock too.
 */
int bm_device_open_image(const struct bm_image_layer *layers, size_t n,
                         unsigned connections, struct bm_device **out,
                         struct bm_error *err);

/* Drains, disconnects and ends the server. Accepts NULL. */
void bm_device_close(struct bm_device *dev);

uint64_t bm_device_size(const struct bm_device *dev);
unsigned bm_device_connections(const struct bm_device *dev);
/* Where reads come from: "medium" (O_DIRECT), "server" or "cache". */
const char *bm_device_medium(const struct bm_device *dev);

/* Reads exactly len bytes or fails; never returns data that was not read.
 * No longer than a deadline (30 s) without progress: -ETIMEDOUT. */
int bm_device_pread(struct bm_device *dev, unsigned connection, void *buf,
                    size_t len, uint64_t offset, struct bm_error *err);

/* One run of blocks that are alike, as base:allocation says. */
struct bm_extent {
    uint64_t offset, length;
    bool zero; /* reads as zeroes; false: must be read */
};

/*
 * The runs of [offset, offset+len), ascending, contiguous, clamped to the
 * range, at most max of them; *n says how many. Fewer than max means the
 * range is covered; otherwise ask again from the end of the last one.
 */
int bm_device_extents(struct bm_device *dev, unsigned connection,
                      uint64_t offset, uint64_t len, struct bm_extent *runs,
                      size_t max, size_t *n, struct bm_error *err);

/*
 * QEMU's own "others may not write" lock on a file: an OFD read lock on byte
 * 201 (QEMU block/file-posix.c, RAW_LOCK_SHARED_BASE + BLK_PERM_WRITE). While
 * it is held no QEMU opens the file for writing. Returns a descriptor that
 * holds it (close to release), or a negative errno; -EBUSY: someone has the
 * image open for writing. Block devices take no QEMU locks: returns a plain
 * descriptor.
 */
int bm_frozen_lock(const char *path, struct bm_error *err);

#endif
