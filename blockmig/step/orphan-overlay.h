// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Overlays of ours that libvirt has lost sight of. It may die between QEMU's
 * transaction that puts them under the guest and its own note of that, or
 * between its notes of the live and of the saved XML. Then QEMU writes to an
 * image that an XML does not name, and a guest that is started anew comes up
 * without what is in there.
 *
 * So what a freeze was asked for with is in the journal, and whether both XMLs
 * were seen to name it since. Until then it counts as in use as long as QEMU
 * has it open, and is not removed while it holds anything.
 */
#ifndef BM_STEP_ORPHAN_OVERLAY_H
#define BM_STEP_ORPHAN_OVERLAY_H

#include "blockmig/job/job-chain.h"
#include "blockmig/run/run.h"

/*
 * Reads the domain, and looks at the overlays that were not seen yet. What the
 * live XML alone names comes into the saved one too; what a guest that went off
 * has written is named by its XML again, of all disks or none.
 * -BM_NEEDS_OPERATOR with BM_EXIT_HELD: QEMU has one open; or what one holds
 * cannot be given back without a person.
 */
int bm_orphan_check(struct bm_run *run, struct bm_error *err);
/* Before the job's overlays are removed. -BM_NEEDS_OPERATOR: one holds
 * something, so a guest has run on it. */
int bm_orphan_unwritten(struct bm_run *run, struct bm_error *err);

#endif
