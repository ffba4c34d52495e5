// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The guest's file systems, frozen by its agent (--quiesce) while the first
 * overlay is put on its disks: so what is below it is a disk that was in
 * order, and not one as after a power cut. Journaled before, and held by the
 * guard: it thaws them when we die, or after bm_agent_ms.
 *
 * The switch needs none of it: the guest is suspended there, and both sides
 * hold what it had written, its own caches with it.
 */
#ifndef BM_RUN_QUIESCE_H
#define BM_RUN_QUIESCE_H

#include "blockmig/run/run.h"

struct bm_quiesce {
    int count;       /* of file systems */
    int64_t from_ms; /* bm_now_ms when we asked */
};

/* 0: frozen. -ETIMEDOUT: the agent does not answer, and what it did is not
 * known; the guard goes on trying to thaw. Any other error: they are thawed. */
int bm_quiesce_begin(struct bm_run *run, struct bm_quiesce *quiesce,
                     struct bm_error *err);
/* Thaws. 0: they were frozen up to now, and job->quiesced says so. -ESTALE:
 * somebody else, or the guard, had thawed them. -ETIMEDOUT as above. */
int bm_quiesce_end(struct bm_run *run, const struct bm_quiesce *quiesce,
                   struct bm_error *err);
/* What a dead run and a dead guard may have left. */
int bm_quiesce_recover(struct bm_run *run, struct bm_error *err);

#endif
