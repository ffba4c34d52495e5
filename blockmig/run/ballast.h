// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The ballast: a file that holds a reserve of room on each file system where
 * the guest writes to an overlay of ours. When room gets short it is let go,
 * so that the guest can write on while the move goes back or ends.
 *
 * It is called .blockmig-ID-ballast: found by its name again, and ours by it.
 */
#ifndef BM_RUN_BALLAST_H
#define BM_RUN_BALLAST_H

#include "blockmig/run/run.h"

/* One on each file system where source overlays or tiny overlays (will) stand,
 * in the journal before. Those that are there are made anew. */
int bm_ballast_make(struct bm_run *run, struct bm_error *err);
/* Takes all of them away; none is fine. */
int bm_ballast_remove(struct bm_run *run, struct bm_error *err);

#endif
