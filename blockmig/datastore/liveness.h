// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Whether the stores of a move still answer. A store that hangs (NFS without
 * its server, a path that queues) holds whoever calls it, for ever: so it is
 * asked by a thread that can be left behind.
 *
 * Threads: any; it needs no connection.
 */
#ifndef BM_DATASTORE_LIVENESS_H
#define BM_DATASTORE_LIVENESS_H

#include "blockmig/job/job.h"

/* Opens the file (or folder) and reads its first block around the page cache.
 * 0: the store has answered; an error is an answer too. -ETIMEDOUT with
 * BM_EXIT_HELD: not within bm_call_ms. */
int bm_store_is_alive(const char *path, struct bm_error *err);
/* The same before anything has begun: BM_EXIT_REFUSED. */
int bm_store_is_alive_early(const char *path, struct bm_error *err);
/* bm_store_is_alive for every disk: what it stands on on the old side, its new
 * image, both. */
int bm_liveness_old(const struct bm_job *job, struct bm_error *err);
int bm_liveness_new(const struct bm_job *job, struct bm_error *err);
int bm_liveness_all(const struct bm_job *job, struct bm_error *err);

/* For who waits while something moves. */
struct bm_stall_timer {
    uint64_t moved;
    int64_t since_ms; /* bm_now_ms of its last change; 0: not yet looked */
};
/* bm_liveness_all, whenever `moved` has not changed for `ms`. */
int bm_stall_timer_check(struct bm_stall_timer *stall, const struct bm_job *job,
                         uint64_t moved, int ms, struct bm_error *err);

#endif
