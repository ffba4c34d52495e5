// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A freeze: an overlay on every disk of a job, in one transaction.
 */
#ifndef BM_GUARD_OVERLAY_TRANSACTION_H
#define BM_GUARD_OVERLAY_TRANSACTION_H

#include "blockmig/job/job.h"
#include "snapshot/domain/domain.h"

/* overlays[i] goes on disk i of the job; the domain was read just now and has
 * all of them. made: see bm_domain_freeze. -ETIMEDOUT: abandoned. */
int bm_overlays_put(struct bm_domain *domain, const struct bm_job *job,
                    const char *const *overlays, bool made,
                    struct bm_error *err);

#endif
