// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One libvirt block job on one disk: start, wait, progress, pivot, abort.
 * Events are registered before the job starts; READY comes from the event or
 * from <mirror ready='yes'>, never from cur == end; end of a job is always
 * asked for with ASYNC; a job that vanished without a COMPLETED event and
 * without the chain to show for it has failed (docs/pitfalls.md P4, P7, P8,
 * P10).
 */
#ifndef BM_SNAPSHOT_BLOCKJOB_BLOCKJOB_H
#define BM_SNAPSHOT_BLOCKJOB_BLOCKJOB_H

#include "snapshot/domain/domain.h"

enum bm_blockjob_state {
    BM_BLOCKJOB_RUNNING,
    BM_BLOCKJOB_READY,
    BM_BLOCKJOB_COMPLETED,
    BM_JOB_CANCELED,
    BM_BLOCKJOB_FAILED,
    BM_JOB_VANISHED, /* no job, no event: look at the chain */
    BM_JOB_GUEST_GONE,
    BM_BLOCKJOB_LOST, /* the connection is gone: reopen, ask again */
};
const char *bm_blockjob_state_name(enum bm_blockjob_state state);
/* Neither running nor ready. */
bool bm_blockjob_state_over(enum bm_blockjob_state state);

struct bm_blockjob {
    struct bm_connection *conn; /* borrowed */
    struct bm_domain *domain;   /* borrowed */
    char target[32];
    uint64_t seq; /* the newest event looked at */
    enum bm_blockjob_state state;
    uint64_t cur, end; /* progress only: end may exceed the disk */
    uint64_t speed;    /* the limit in bytes/s that its owner has set last */
};

struct bm_copy_request {
    const char *target;          /* vda */
    const struct bm_chain *dest; /* dest->layers[0] is made or reused;
                                  * the rest is its backing chain */
    bool shallow;                /* sync=top */
    bool reuse;                  /* REUSE_EXT: a block device */
    uint64_t bandwidth;          /* bytes/s, 0: no limit */
};

/* The one place that makes blockcopy flags. -EINVAL for a combination that
 * corrupts (docs/pitfalls.md P1) or makes no sense. */
int bm_copy_flags(bool shallow, bool reuse, bool synchronous, unsigned *flags);

/* Starts; job is filled and watches from before the start. */
int bm_blockjob_copy(struct bm_connection *conn, struct bm_domain *domain,
                     const struct bm_copy_request *request,
                     struct bm_blockjob *job, struct bm_error *err);
/* Layers go down into one below them, by the paths of the live XML. */
struct bm_commit_request {
    const char *target;
    const char *base;   /* gets them; NULL: the one below top */
    const char *top;    /* the uppermost to go; NULL: the active layer, then the
                         * job becomes READY and waits for a pivot */
    uint64_t bandwidth; /* bytes/s, 0: no limit */
};
int bm_blockjob_commit(struct bm_connection *conn, struct bm_domain *domain,
                       const struct bm_commit_request *request,
                       struct bm_blockjob *job, struct bm_error *err);
/* All that is below the active layer goes up into it; ends by itself, and
 * never becomes READY. bandwidth in bytes/s, 0: no limit. */
int bm_blockjob_pull(struct bm_connection *conn, struct bm_domain *domain,
                     const char *target, uint64_t bandwidth,
                     struct bm_blockjob *job, struct bm_error *err);
/* Which job is on the disk, a virDomainBlockJobType; 0: none. The XML shows
 * only those that have a <mirror>. */
int bm_blockjob_kind(struct bm_domain *domain, const char *target, int *kind,
                     struct bm_error *err);
/* Watches a job that is already there (recovery). */
void bm_blockjob_adopt(struct bm_connection *conn, struct bm_domain *domain,
                       const char *target, struct bm_blockjob *job);

/* Looks at events and, when those say nothing for a while, at libvirt; waits
 * at most wait_ms for a change. Fills state, cur, end. Negative errno only
 * when libvirt could not be asked. */
int bm_blockjob_poll(struct bm_blockjob *job, int wait_ms,
                     struct bm_error *err);
/* Asks for the pivot (ASYNC). It cannot be withdrawn: journal before. */
int bm_blockjob_pivot(struct bm_blockjob *job, int timeout_ms,
                      struct bm_error *err);
/* Asks for the end (ASYNC) and waits until no job is left on the disk. */
int bm_blockjob_abort(struct bm_blockjob *job, int timeout_ms,
                      struct bm_error *err);
/* The rate limit, bytes/s; 0 lifts it. Before a pivot it must be lifted: the
 * last dirty blocks would drain at that rate, with the guest paused. */
int bm_blockjob_speed(struct bm_domain *domain, const char *target,
                      uint64_t bandwidth, struct bm_error *err);

#endif
