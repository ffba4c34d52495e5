// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the user asks of a move while it runs: other limits, a pause. Wherever
 * a run spends time it takes them up, several times a second.
 *
 * A pause stops what we do before the switch, and what would follow a settled
 * job; in all other states the work is brought to its end, and a pause that
 * was asked for begins in the next state that can stand still.
 */
#ifndef BM_RUN_REQUESTS_H
#define BM_RUN_REQUESTS_H

#include "blockmig/run/run.h"

/* Takes up what was asked since: first into the journal and the events, then
 * the pace has it. job->paused tells whether the move stands still: whoever
 * calls keeps libvirt's block jobs to that. */
void bm_run_take_requests(struct bm_run *run);
/* A state was entered that cannot stand still. */
void bm_run_end_user_pause(struct bm_run *run);

#endif
