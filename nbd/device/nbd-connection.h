// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One NBD connection that does struct bm_request: cut to the sizes the server
 * takes, many on the wire at a time, a deadline on each wait. A reader's lost
 * connection is made again if its bm_nbd_target allows that.
 *
 * A link that has failed for good stays failed, all its requests are done
 * with ENOTCONN then, and nothing that was delivered halfway is ever taken
 * for data.
 *
 * Threads: a link is used by one thread at a time.
 */
#ifndef BM_NBD_DEVICE_NBD_CONNECTION_H
#define BM_NBD_DEVICE_NBD_CONNECTION_H

#include "nbd/device/device.h"
#include "nbd/device/nbd-connect.h"

struct bm_nbd;

/* Connects to how->uri by deadline (bm_now_ms). how must outlive the link. */
int bm_nbd_open(const struct bm_nbd_target *how, int64_t deadline,
                struct bm_nbd **out, struct bm_error *err);

/* Takes over a connected socket, also when it fails. Nothing is sent yet;
 * bm_nbd_wait_ready shakes hands. */
int bm_nbd_new(const struct bm_nbd_target *how, int sock, struct bm_nbd **out,
               struct bm_error *err);
int bm_nbd_wait_ready(struct bm_nbd *conn, int64_t deadline,
                      struct bm_error *err);

/* Drains, disconnects. Requests in flight are done, with ENOTCONN. Accepts
 * NULL. */
void bm_nbd_free(struct bm_nbd *conn);

const struct bm_nbd_facts *bm_nbd_facts_of(const struct bm_nbd *conn);

/* As the operations of struct bm_device_ops. A unaligned write, where the
 * server has a minimum, fails with EINVAL: one queue cannot know what the
 * others write into the rest of its blocks. See nbd-unaligned.h. */
int bm_nbd_submit(struct bm_nbd *conn, struct bm_request *req,
                  struct bm_error *err);
int64_t bm_nbd_poll(struct bm_nbd *conn, struct pollfd *pfd);
int bm_nbd_notify(struct bm_nbd *conn, short revents, bool late,
                  struct bm_error *err);

/* Until req, which was submitted, is done; serves other requests of the link
 * meanwhile. As bm_device_wait. */
int bm_nbd_wait(struct bm_nbd *conn, const struct bm_request *req,
                struct bm_error *err);

/* A positive errno, what the first write that failed has failed with; 0: none
 * has. */
int bm_nbd_write_error(const struct bm_nbd *conn);

/* Waits for the reply as bm_nbd_wait does. A server that knows no flush has
 * nothing to flush: 0. */
int bm_nbd_flush(struct bm_nbd *conn, struct bm_error *err);

/* As bm_device_extents; nbd-extents.c. */
int bm_nbd_extents(struct bm_nbd *conn, enum bm_map map, uint64_t offset,
                   uint64_t len, struct bm_extent *runs, size_t max, size_t *n,
                   struct bm_error *err);

/* libnbd's extent callback. It may be called again for what it has seen, when
 * the question was asked again on a new connection. */
typedef int (*bm_nbd_on_status)(void *opaque, const char *context,
                                uint64_t offset, uint32_t *entries, size_t n,
                                int *error);
/* Asks for the block status of [offset, offset+len) and waits. */
int bm_nbd_status(struct bm_nbd *conn, uint64_t offset, uint64_t len,
                  bm_nbd_on_status callback, void *opaque,
                  struct bm_error *err);

const struct bm_nbd_target *bm_nbd_target_of(const struct bm_nbd *conn);

#endif
