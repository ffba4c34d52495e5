// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What libvirt knows of the domain's snapshots is made true again when the
 * layers of their disks have moved.
 */
#ifndef BM_STEP_SNAPSHOT_METADATA_H
#define BM_STEP_SNAPSHOT_METADATA_H

#include "blockmig/run/run.h"

/*
 * When the guest stands on its new images and nothing goes back any more; or
 * back: on its old ones, after the way back. The snapshots say themselves what
 * is left to be done, so it can be done again; what is done is noted. Of those
 * that were made meanwhile, our overlays and our stamp are taken out, too.
 * Others are left alone.
 */
int bm_snapshot_metadata_rewrite(struct bm_run *run, bool back,
                                 struct bm_error *err);

/* After a move in place: restore points that have put the old image on theirs
 * do not name it any more, so that it can go. */
int bm_snapshot_metadata_hide(struct bm_run *run, struct bm_error *err);

#endif
