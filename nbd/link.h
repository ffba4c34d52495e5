// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One NBD connection with several reads in flight and a deadline on each
 * wait. A link that has failed once stays failed: nothing that it may have
 * delivered halfway is ever taken for data.
 *
 * Threads: a link is used by one thread at a time.
 */
#ifndef BM_LINK_H
#define BM_LINK_H

#include "nbd/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bm_link;
struct bm_extent;

#define BM_LINK_CONNECT_MS 10000
#define BM_LINK_PROGRESS_MS 30000

/* Takes over a connected socket, also when it fails. name is for messages,
 * borrowed. Nothing is sent yet; bm_link_wait_ready shakes hands. */
int bm_link_new(int sock, const char *name, struct bm_link **out,
                struct bm_error *err);
void bm_link_free(struct bm_link *link); /* accepts NULL; disconnects */

/* Shakes hands by deadline_ms of bm_now_ms, else -ETIMEDOUT. */
int bm_link_wait_ready(struct bm_link *link, int64_t deadline_ms,
                       struct bm_error *err);
uint64_t bm_link_size(const struct bm_link *link);

/* The longest wait without progress; BM_LINK_PROGRESS_MS at first. */
void bm_link_set_deadline(struct bm_link *link, int ms);

/* A read in flight. It and its buffer must stay until done is set or the
 * link was abandoned; a wait abandons a link that is stuck or dead. */
struct bm_read {
    void *buf;
    size_t len; /* at most 32 MiB */
    uint64_t offset;
    bool done;
    int error; /* positive errno once done, 0: buf holds the data */
};
int bm_link_submit(struct bm_link *link, struct bm_read *rd,
                   struct bm_error *err);

/* Waits until the reads (of one link each; NULL entries are skipped) are
 * done. -ETIMEDOUT, or the error of the first that failed. */
int bm_link_wait(struct bm_link *const links[], struct bm_read *const reads[],
                 size_t n, struct bm_error *err);

/* Hangs up at once: what is in flight will never be done, and its buffers are
 * the caller's again. Later calls fail with ENOTCONN. */
void bm_link_abandon(struct bm_link *link);

/* As bm_device_extents. */
int bm_link_extents(struct bm_link *link, uint64_t offset, uint64_t len,
                    struct bm_extent *runs, size_t max, size_t *n,
                    struct bm_error *err);

#endif
