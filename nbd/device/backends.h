// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The kinds of devices, for device.c, which chooses. Each fills struct
 * bm_device and hangs its own ops in. Threads and errors as in device.h.
 */
#ifndef BM_NBD_DEVICE_BACKENDS_H
#define BM_NBD_DEVICE_BACKENDS_H

#include "nbd/device/device.h"

/* A raw file or host device, read and written by pread and pwrite in the
 * caller's thread: a request is done when submit returns. Lanes: as many as
 * wanted. Without `share`: bm_frozen_lock, or with `write` bm_writer_lock. */
int bm_device_file_open(const char *path, const struct bm_open *how,
                        struct bm_device **out, struct bm_error *err);

/* An NBD export. A reader's lost connection is made again and what was in
 * flight is sent again, while that takes less than connect_ms and five times
 * in a row at most; a writer's is an error, because what the server had not
 * yet flushed may be lost with it. */
int bm_device_nbd_open(const char *uri, const struct bm_open *how,
                       struct bm_device **out, struct bm_error *err);

/* An image by a qemu-nbd of our own; how->format must be given. */
int bm_device_qemu_open(const char *path, const struct bm_open *how,
                        struct bm_device **out, struct bm_error *err);

#endif
