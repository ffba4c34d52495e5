// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The pace of one running move: asks libvirt what the guest's disks did, and
 * holds the copy to what the pace says.
 *
 * Threads: that of the run.
 */
#ifndef BM_RUN_PACING_H
#define BM_RUN_PACING_H

#include "blockmig/run/run.h"
#include "blockmig/run/latency-control.h"
#include "nbd/thread/rate-limit.h"

struct bm_pacing;

/* run->pacing, if there is none yet: measures what the guest's I/O takes now, a
 * second at most. (So a resumed job measures what it finds.) */
int bm_pacing_need(struct bm_run *run, struct bm_error *err);
/* The same in two steps, with work between them: a first look; the rest, a
 * second at most, unless there is no pacing or it was done. The work delays
 * nothing if the guest did nothing meanwhile, and nothing of it is measured. */
int bm_pacing_begin(struct bm_run *run, struct bm_error *err);
void bm_pacing_measure(struct bm_run *run);
void bm_pacing_free(struct bm_pacing *pacing); /* accepts NULL */
/* Whether a guest that is, or was, at work is to be spared. NULL: nothing is
 * known of one. */
bool bm_pacing_spares(const struct bm_pacing *pacing);

/* The guest may write to other images now: those of ours are written behind
 * (writeback.h), if it is to be spared. */
void bm_pacing_follow(struct bm_pacing *pacing, struct bm_run *run);
/* Nothing is copied for a long time: no more writing behind, until the next
 * bm_pacing_follow. Accepts NULL. */
void bm_pacing_rest(struct bm_pacing *pacing);

/* A step begins: its copy is held by this rate limit; NULL: it has ended. */
void bm_pacing_take(struct bm_pacing *pacing, struct bm_rate_limit *rate_limit);
/* The same for libvirt's block jobs; each gets its share. */
void bm_pacing_take_jobs(struct bm_pacing *pacing);
/* Block jobs run beside what was taken. */
void bm_pacing_take_jobs_too(struct bm_pacing *pacing);
/* In such a step: the share of one of n jobs in bytes/s, 0: no limit; in others
 * *share stays. */
void bm_pacing_share(struct bm_pacing *pacing, size_t n, uint64_t *share);
/* Now and then in that step; moved: bytes since it began. */
void bm_pacing_tick(struct bm_pacing *pacing, struct bm_run *run,
                    uint64_t moved);
/* While the user has paused the move: the copy stands still, and what the
 * guest does meanwhile is judged by nobody. */
void bm_pacing_hold(struct bm_pacing *pacing, bool held);
/* New limits, as of struct bm_job. A guest that was not watched before has
 * the baseline of one that was idle. */
void bm_pacing_set(struct bm_pacing *pacing, double factor, uint64_t bandwidth);
void bm_pacing_state(struct bm_pacing *pacing, struct bm_latency_state *out);

#endif
