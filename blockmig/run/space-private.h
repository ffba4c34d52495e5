// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Is there enough room? For space-watch.c and wait-space.c.
 */
#ifndef BM_RUN_SPACE_PRIVATE_H
#define BM_RUN_SPACE_PRIVATE_H

#include "blockmig/job/job.h"

/* So much must be free that going on is worth a try. */
#define BM_SOME_SPACE (UINT64_C(8) << 20)

/* spare: what must be free besides what going back or on needs; 0: where the
 * guest writes, the size of the ballast. merges: only where something is
 * merged; the guest's writes are no matter. -ENOSPC: too little is free. */
int bm_space_check(const struct bm_job *job, uint64_t spare, bool merges,
                   struct bm_error *err);
/* rc, with the status BM_EXIT_HELD in err. */
int bm_space_held(int rc, struct bm_error *err);

#endif
