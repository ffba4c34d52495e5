// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a running guest's disks did, as QEMU counts it at the device that the
 * guest sees: snapshots, pivots and our own block jobs leave the counters
 * alone. Two readings make a sample, and that is what the pace is fed with.
 *
 * Threads: reading as struct bm_domain; the rest is pure.
 */
#ifndef BM_SNAPSHOT_DOMAIN_BLOCK_STATS_H
#define BM_SNAPSHOT_DOMAIN_BLOCK_STATS_H

#include "nbd/base/error.h"

#include <stddef.h>
#include <stdint.h>

struct bm_domain;

/* Since the guest's start, all disks together. */
struct bm_block_count {
    uint64_t requests; /* that ended */
    uint64_t bytes;    /* of a flush 0 */
    uint64_t ns;       /* how long they took, added up */
};

struct bm_block_stats {
    int64_t time_ms; /* bm_now_ms of the answer */
    int domain_id;   /* libvirt's: another one after each start */
    struct bm_block_count read, write, flush;
};

/* What was done between two readings. */
struct bm_block_sample {
    int64_t ms;          /* from one to the other */
    uint64_t requests;   /* reads, writes and flushes that ended */
    double latency_us;   /* their mean; 0 without requests */
    uint64_t write_rate; /* bytes a second that were written */
};

/*
 * Adds up the counters of the disks with these target names (vda). Does not
 * wait for another job that has the domain: that is EBUSY, and so a call that
 * hangs in QEMU holds up no second one. ENOENT: the domain does not run, or
 * has no such disk with counters; else as bm_call. *out is touched on success
 * only. No failure says anything about the move: whoever samples skips this
 * time.
 */
int bm_block_stats_read(struct bm_domain *domain, const char *const targets[],
                        size_t n, int timeout_ms, struct bm_block_stats *out,
                        struct bm_error *err);

/* -ERANGE: not a sample, since no time passed, the guest was started anew or
 * a disk was exchanged. Then `newer` is where the next sample begins. */
int bm_block_stats_diff(const struct bm_block_stats *older,
                        const struct bm_block_stats *newer,
                        struct bm_block_sample *out);

#endif
