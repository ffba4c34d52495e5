// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An overlay made for a guest to write to without feeling it. By default a
 * first write to a cluster of a qcow2 overlay reads the rest of it from below,
 * writes all of it, and then its place in the tables; a guest's p99 doubled by
 * that alone. Here every cluster has its place from the start, and is kept in
 * 32 parts (qemu-img(1), extended_l2, preallocation): a write of 4 KiB writes
 * 4 KiB.
 *
 * Never to be pulled into: copy-on-read of QEMU 7.2 ends the guest by an
 * assertion (bdrv_co_do_copy_on_readv, skip_bytes < pnum) when it comes to a
 * cluster of which some parts are there and some are not. So the strategy pull
 * lets libvirt make its image, and disks with copy_on_read are refused.
 */
#ifndef BM_IMAGE_OVERLAY_IMAGE_H
#define BM_IMAGE_OVERLAY_IMAGE_H

#include "nbd/base/error.h"
#include "snapshot/domain/chain.h"

#include <stdint.h>

/* The size, in bytes, that the guest sees of the top layer of a chain. */
int bm_overlay_below(const struct bm_layer *top, uint64_t *size,
                     struct bm_error *err);
/* Bytes, at least, that a fresh one takes of its store for a disk of that
 * size: its tables. */
uint64_t bm_overlay_tables(uint64_t size);
/* A new file, durable, of that many bytes, empty over `below`, which is not
 * opened. It must not exist. */
int bm_overlay_make(const char *path, const struct bm_layer *below,
                    uint64_t size, struct bm_error *err);

/* For a restore point, which stays: an ordinary qcow2, which virsh may pull
 * into. The file is there, and empty, or was made so before. */
int bm_overlay_format(const char *path, const struct bm_layer *below,
                      struct bm_error *err);

/* The header of an overlay that nobody has open names that layer. */
int bm_commit_rebase(const char *overlay, const struct bm_layer *below,
                     struct bm_error *err);

/* Whether an overlay holds anything of the guest's. -EBUSY: it is open. */
int bm_overlay_holds_data(const char *path, bool *any, struct bm_error *err);

#endif
