// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The journal of the overlays that a freeze puts on the disks: what was asked
 * for, and what both XMLs were seen to name since (step/orphan-overlay.h).
 *
 * Threads: the moving thread only.
 */
#ifndef BM_RUN_OVERLAY_JOURNAL_H
#define BM_RUN_OVERLAY_JOURNAL_H

#include "blockmig/job/job-chain.h"
#include "blockmig/run/context.h"

/* In the journal: before the overlays of the next freeze are made, and before
 * it is asked for. */
int bm_overlay_journal_begin(struct bm_run *run, enum bm_overlay_side which,
                             struct bm_error *err);
int bm_overlay_journal_expect(struct bm_run *run, enum bm_overlay_side which,
                              struct bm_error *err);
/* Whether both XMLs were seen to name the overlay of disk i that was asked for
 * last, or none was; how many disks' were not. */
bool bm_overlay_journal_is_seen(const struct bm_job *job, size_t i,
                                enum bm_overlay_side which);
size_t bm_overlay_journal_count_unseen(const struct bm_job *job,
                                       enum bm_overlay_side which);
/* The name of that overlay. Caller frees; NULL: out of memory. */
char *bm_overlay_journal_asked_for(const struct bm_job *job, size_t i,
                                   enum bm_overlay_side which);
/* What the domain, as it was read just now, shows of them; not saved. */
void bm_overlay_journal_see(struct bm_run *run);

#endif
