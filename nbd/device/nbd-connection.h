// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One NBD connection that does struct bm_request: cut to the sizes the server
 * takes, many on the wire at a time, a deadline on each wait. A reader's lost
 * connection is made again if its bm_dial allows that.
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

struct bm_link;

/* Connects to how->uri by deadline (bm_now_ms). how must outlive the link. */
int bm_link_open(const struct bm_dial *how, int64_t deadline,
                 struct bm_link **out, struct bm_error *err);

/* Takes over a connected socket, also when it fails. Nothing is sent yet;
 * bm_link_wait_ready shakes hands. */
int bm_link_new(const struct bm_dial *how, int sock, struct bm_link **out,
                struct bm_error *err);
int bm_link_wait_ready(struct bm_link *link, int64_t deadline,
                       struct bm_error *err);

/* Drains, disconnects. Requests in flight are done, with ENOTCONN. Accepts
 * NULL. */
void bm_link_free(struct bm_link *link);

const struct bm_facts *bm_link_facts(const struct bm_link *link);

/* As the operations of struct bm_device_ops. A ragged write, where the server
 * has a minimum, fails with EINVAL: one lane cannot know what the others write
 * into the rest of its blocks. See nbd-unaligned.h. */
int bm_link_submit(struct bm_link *link, struct bm_request *req,
                   struct bm_error *err);
int64_t bm_link_poll(struct bm_link *link, struct pollfd *pfd);
int bm_link_notify(struct bm_link *link, short revents, bool late,
                   struct bm_error *err);

/* Until req, which was submitted, is done; serves other requests of the link
 * meanwhile. As bm_device_wait. */
int bm_link_wait(struct bm_link *link, const struct bm_request *req,
                 struct bm_error *err);

/* A positive errno, what the first write that failed has failed with; 0: none
 * has. */
int bm_link_write_error(const struct bm_link *link);

/* Waits for the reply as bm_link_wait does. A server that knows no flush has
 * nothing to flush: 0. */
int bm_link_flush(struct bm_link *link, struct bm_error *err);

/* As bm_device_extents; nbd-extents.c. */
int bm_link_extents(struct bm_link *link, enum bm_map map, uint64_t offset,
                    uint64_t len, struct bm_extent *runs, size_t max, size_t *n,
                    struct bm_error *err);

/* libnbd's extent callback. It may be called again for what it has seen, when
 * the question was asked again on a new connection. */
typedef int (*bm_link_on_status)(void *opaque, const char *context,
                                 uint64_t offset, uint32_t *entries, size_t n,
                                 int *error);
/* Asks for the block status of [offset, offset+len) and waits. */
int bm_link_status(struct bm_link *link, uint64_t offset, uint64_t len,
                   bm_link_on_status callback, void *opaque,
                   struct bm_error *err);

const struct bm_dial *bm_link_dial(const struct bm_link *link);

#endif
