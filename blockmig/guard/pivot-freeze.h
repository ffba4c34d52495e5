// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The middle of the switch window, between the suspend and the resume: pivot
 * all disks, then freeze the new side. Used by the run, by the guard when
 * the run died, and by recovery; it knows only what the domain shows.
 */
#ifndef BM_GUARD_PIVOT_FREEZE_H
#define BM_GUARD_PIVOT_FREEZE_H

#include "blockmig/job/job.h"
#include "snapshot/domain/domain.h"

/* How many of the job's disks stand where. */
struct bm_location_count {
    size_t at_source, at_dest, at_overlay;
};
/* -ESTALE: some disk stands elsewhere. */
int bm_location_count_look(const struct bm_domain *domain,
                           const struct bm_job *job,
                           struct bm_location_count *count,
                           struct bm_error *err);

/* Before the guest is paused, while no disk stands on its overlay: makes them,
 * so that the pause is shorter, and the guest does not feel them
 * (overlay-image.h). A resize is refused by libvirt as long as the disks are
 * mirrored. */
int bm_pivot_freeze_prepare(const struct bm_job *job, struct bm_error *err);

/*
 * From wherever it stands: asks for the pivot of each disk whose copy is
 * ready, waits until every disk is on its target, then (with a proof) puts
 * the overlays on top. 0: every disk stands on its overlay (without a proof:
 * on its target). -ETIME: a pivot did not end within timeout_ms.
 */
int bm_pivot_freeze_finish(struct bm_connection *conn, struct bm_domain *domain,
                           const struct bm_job *job, int timeout_ms,
                           struct bm_error *err);

#endif
