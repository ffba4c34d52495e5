// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Writes that begin or end within a block of a server that takes whole blocks
 * only: the block is read, changed and written back. For nbd-multi-conn.c.
 *
 * Threads: each link is its thread's; the mutex is one for all links of the
 * device, and only one of them changes a block at a time. A write of whole
 * blocks needs no lock: it has no block in common with a unaligned one that it
 * does not overlap.
 */
#ifndef BM_NBD_DEVICE_NBD_UNALIGNED_H
#define BM_NBD_DEVICE_NBD_UNALIGNED_H

#include "nbd/device/nbd-connection.h"

#include <pthread.h>

/* A write, or zeroes, that the server does not take as they are. */
bool bm_is_unaligned(const struct bm_nbd_facts *facts,
                     const struct bm_request *req);

/*
 * Does it before it returns, serving other requests of the link meanwhile. As
 * submit of struct bm_device_ops. -EINVAL with nothing done, and the link as
 * good as before: it reaches into the tail of an export whose own size is
 * unaligned, which no whole block covers.
 */
int bm_unaligned_write(struct bm_nbd *conn, pthread_mutex_t *mutex,
                       struct bm_request *req, struct bm_error *err);

#endif
