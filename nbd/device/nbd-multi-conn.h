// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A device whose lanes are links: what an NBD export and an image behind a
 * qemu-nbd of our own have in common.
 */
#ifndef BM_NBD_DEVICE_NBD_MULTI_CONN_H
#define BM_NBD_DEVICE_NBD_MULTI_CONN_H

#include "nbd/device/device.h"
#include "nbd/device/nbd-connection.h"

#include <pthread.h>
#include <stdatomic.h>

struct bm_lanes {
    struct bm_device dev; /* first: the operations are given this */
    struct bm_dial dial;  /* its name is dev.name */
    char *dirty;          /* the meta context, owned; dial borrows it */
    struct bm_link *links[BM_LANES_MAX];
    atomic_int write_error; /* errno: what was written may be lost */
    pthread_mutex_t ragged; /* while less than a block is changed */
};

/* Sets the name, the context and the times. -EINVAL, -ENOMEM. To be cleared,
 * also when it fails. */
int bm_lanes_init(struct bm_lanes *lanes, const char *name,
                  const struct bm_open *how, struct bm_error *err);

/* Fills dev by what the first server connection says and checks that it suits
 * how; the links of dev.lanes are there. */
int bm_lanes_agree(struct bm_lanes *lanes, const struct bm_open *how,
                   struct bm_error *err);

/* Says goodbye and frees all but the struct itself. */
void bm_lanes_clear(struct bm_lanes *lanes);

/* The operations. Once a write or a flush has failed, on whichever lane, every
 * flush fails with that error: a server tells of what it lost only once. */
int bm_lanes_submit(struct bm_device *dev, unsigned lane,
                    struct bm_request *req, struct bm_error *err);
int64_t bm_lanes_poll(struct bm_device *dev, unsigned lane, struct pollfd *pfd);
int bm_lanes_notify(struct bm_device *dev, unsigned lane, short revents,
                    bool late, struct bm_error *err);
int bm_lanes_extents(struct bm_device *dev, unsigned lane, enum bm_map map,
                     uint64_t offset, uint64_t len, struct bm_extent *runs,
                     size_t max, size_t *n, struct bm_error *err);
int bm_lanes_flush(struct bm_device *dev, unsigned lane, struct bm_error *err);

#endif
