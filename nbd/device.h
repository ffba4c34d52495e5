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
#include "nbd/imagelock.h"
#include "nbd/link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

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

/* The guest-visible size: QEMU rounds a ragged raw file up to 512 bytes. */
uint64_t bm_device_size(const struct bm_device *dev);
unsigned bm_device_connections(const struct bm_device *dev);
/* Where reads come from: "medium" (O_DIRECT), "server" or "cache". */
const char *bm_device_medium(const struct bm_device *dev);

/* The connection itself, for several reads in flight. Borrowed. */
struct bm_link *bm_device_link(struct bm_device *dev, unsigned connection);
/* Of the server, for reports and tests. */
pid_t bm_device_server_pid(const struct bm_device *dev);

/*
 * QEMU reads zeroes where a file has been cut off behind its back. So after
 * reading ask whether each layer's file is at least as long as when it was
 * opened: 0, or -EIO. bm_device_pread and bm_compare ask by themselves.
 */
int bm_device_intact(const struct bm_device *dev, struct bm_error *err);

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

#endif
