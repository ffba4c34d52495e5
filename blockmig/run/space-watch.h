// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The room of one running move, watched where the guest writes to an overlay
 * of ours, and where going back or ending needs it. Too little, and the
 * ballast is let go (ballast.h); then a move that was not switched goes back,
 * and one that was goes on, as that frees room. A guest that QEMU paused
 * because our overlay ran out of room is resumed as soon as there is some.
 *
 * Threads: that of the run.
 */
#ifndef BM_RUN_SPACE_WATCH_H
#define BM_RUN_SPACE_WATCH_H

#include "blockmig/run/run.h"

/* Every step that waits calls this. It looks at most once a second, and when a
 * state begins. */
void bm_space_tick(struct bm_run *run);
/* Resumes a guest that is paused for want of room in our overlay, and no
 * other. -ENOSPC with BM_EXIT_HELD: there still is none. */
int bm_space_let_run(struct bm_run *run, struct bm_error *err);

/* Whether overlays can go down into the source. Those that stand on the target
 * are there because that takes no writes, or is full: -EROFS or -ENOSPC, with
 * BM_EXIT_HELD, as long as it does. */
int bm_space_way_back(const struct bm_job *job, struct bm_error *err);

/* Before QEMU merges into an image with holes: -ENOSPC, unless what that may
 * take is free. A merge that fails for want of room, just while the guest is
 * stopped for the same reason, leaves QEMU 7.2 with one reference to the top
 * image too few: no more merge can be started, or the guest dies. */
int bm_space_merge(const struct bm_job *job, struct bm_error *err);

#endif
