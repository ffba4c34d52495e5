// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A pause of the guest that is ours: journaled before, held by the guard,
 * ended over a libvirtd that dies meanwhile, and measured by the host's clock
 * (a suspended guest's own clock stands still).
 */
#ifndef BM_RUN_GUEST_PAUSE_H
#define BM_RUN_GUEST_PAUSE_H

#include "blockmig/run/run.h"

struct bm_pause {
    uint64_t seq; /* of the events before it */
    int64_t asked_ms;
    int resumes; /* how often the guest was resumed since we asked */
    bool acted;  /* the guard ended it, at the bound */
};

/* 0: the guest is paused. -ETIMEDOUT: abandoned, the guard stays armed until
 * we are gone. Any other error: the guest runs again. */
int bm_pause_begin(struct bm_run *run, struct bm_pause *pause,
                   struct bm_error *err);
/* A guest that a dead run left paused, maybe between pivot and freeze: from
 * now on the guard brings that to its end should we fail. */
int bm_pause_adopt(struct bm_run *run, struct bm_error *err);
/* Lets the guest run; a guest that runs already, or is off, is fine. */
int bm_pause_resume(struct bm_run *run, struct bm_error *err);
/* After bm_pause_resume: lets the guard go once the guest is seen running,
 * and adds the pause to the job's sums. */
int bm_pause_end(struct bm_run *run, struct bm_pause *pause,
                 struct bm_error *err);

#endif
