// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The pull: the guest writes to the new image, which stands on the source, and
 * all that the source holds goes up into it. A disk whose pull has ended is on
 * its new image alone; while none is, all of them can go back.
 */
#ifndef BM_STRATEGY_PULL_STEPS_H
#define BM_STRATEGY_PULL_STEPS_H

#include "blockmig/run/run.h"

/* How many of the job's disks stand where. */
struct bm_pull_count {
    size_t at_source, pulling, at_dest;
};
/* Reads the domain first. -ESTALE with BM_EXIT_HELD: a disk stands elsewhere,
 * -ENOENT: the domain is gone. */
int bm_pull_look(struct bm_run *run, struct bm_pull_count *count,
                 struct bm_error *err);

/* Reads the domain again. */
bool bm_pull_went_off(struct bm_run *run);

/* Pulls the disks that are not at their end, at the pace of the move: by
 * libvirt, or by qemu-img if the guest is off. Takes up pulls that run.
 * to_end: until all have ended; else until the first one has, and a cancel is
 * heard. */
int bm_pull_run(struct bm_run *run, bool to_end, struct bm_error *err);

/*
 * When all disks are on their new images: makes them durable. QEMU 7.2 takes
 * the backing file out of an image's header when its pull ends, and writes the
 * tables of what it has pulled only when somebody flushes: so the guest is
 * paused, which flushes all. A guest that went off before (QEMU may have died)
 * has the old images put below the new ones again, and gets all that is
 * missing. BM_EXIT_HELD: someone else has paused the guest.
 */
int bm_pull_flush(struct bm_run *run, struct bm_error *err);

/*
 * The way back: ends the pulls, and what the guest has written goes down into
 * the source. -EAGAIN: too late for one disk; so the state is consolidating
 * now. -BM_NEEDS_OPERATOR: the source takes no writes; the state is copying.
 */
int bm_pull_back(struct bm_run *run, struct bm_error *err);

#endif
