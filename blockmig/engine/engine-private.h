// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The state machine of engine.c, as resume.c starts it.
 */
#ifndef BM_ENGINE_ENGINE_PRIVATE_H
#define BM_ENGINE_ENGINE_PRIVATE_H

#include "blockmig/engine/engine.h"
#include "blockmig/run/run.h"

/* The run context of a job that the engine is given. */
struct bm_run bm_engine_context(const struct bm_engine *engine);
/* From the job's state to a resting one. Frees run->domain and lets go of what
 * the run holds. */
int bm_engine_machine(struct bm_run *run, struct bm_error *err);

/* The work of a state has returned rc, not 0: goes on, back or stops, as
 * outcome.h has it. 0: the machine goes on; the state may be another one. */
int bm_engine_decide(struct bm_run *run, int rc, struct bm_error *err);
/* Stops where it is (held, needs-recovery), with everything kept, for `job
 * resume`. -err->code. */
int bm_engine_stop(struct bm_run *run, enum bm_state state,
                   struct bm_error *err);
/* Whatever else the remedy says, `job resume` ends it. */
void bm_engine_name_the_way(const struct bm_job *job, struct bm_error *err);
/* Enters a state of the way back, and keeps the reason. */
int bm_engine_back(struct bm_run *run, enum bm_state state,
                   struct bm_error *err);
/* The last steps: all is undone, or the source is released; then the job has
 * ended, and the journal says how. */
int bm_engine_rolled_back(struct bm_run *run, struct bm_error *err);
int bm_engine_released(struct bm_run *run, struct bm_error *err);
/* The state settled: waits as long as the way back stays open. */
int bm_engine_settle(struct bm_run *run, struct bm_error *err);

#endif
