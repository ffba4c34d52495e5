// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A device whose queues are links: what an NBD export and an image behind a
 * qemu-nbd of our own have in common.
 */
#ifndef BM_NBD_DEVICE_NBD_MULTI_CONN_H
#define BM_NBD_DEVICE_NBD_MULTI_CONN_H

#include "nbd/device/device.h"
#include "nbd/device/nbd-connection.h"

#include <pthread.h>
#include <stdatomic.h>

struct bm_multi_conn {
    struct bm_device dev;        /* first: the operations are given this */
    struct bm_nbd_target target; /* its name is dev.name */
    char *dirty;                 /* the meta context, owned; dial borrows it */
    struct bm_nbd *conns[BM_QUEUES_MAX];
    atomic_int write_error;    /* errno: what was written may be lost */
    pthread_mutex_t unaligned; /* while less than a block is changed */
};

/* Sets the name, the context and the times. -EINVAL, -ENOMEM. To be cleared,
 * also when it fails. */
int bm_multi_conn_init(struct bm_multi_conn *queues, const char *name,
                       const struct bm_open *how, struct bm_error *err);

/* Fills dev by what the first server connection says and checks that it suits
 * how; the links of dev.queues are there. */
int bm_multi_conn_agree(struct bm_multi_conn *queues, const struct bm_open *how,
                        struct bm_error *err);

/* Says goodbye and frees all but the struct itself. */
void bm_multi_conn_clear(struct bm_multi_conn *queues);

/* The operations. Once a write or a flush has failed, on whichever queue, every
 * flush fails with that error: a server tells of what it lost only once. */
int bm_multi_conn_submit(struct bm_device *dev, unsigned queue,
                         struct bm_request *req, struct bm_error *err);
int64_t bm_multi_conn_poll(struct bm_device *dev, unsigned queue,
                           struct pollfd *pfd);
int bm_multi_conn_notify(struct bm_device *dev, unsigned queue, short revents,
                         bool late, struct bm_error *err);
int bm_multi_conn_extents(struct bm_device *dev, unsigned queue,
                          enum bm_map map, uint64_t offset, uint64_t len,
                          struct bm_extent *runs, size_t max, size_t *n,
                          struct bm_error *err);
int bm_multi_conn_flush(struct bm_device *dev, unsigned queue,
                        struct bm_error *err);

#endif
