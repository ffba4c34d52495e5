// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The list of checks before a move, each with a verdict and a remedy. It
 * looks and never touches.
 */
#ifndef BM_PREFLIGHT_PREFLIGHT_H
#define BM_PREFLIGHT_PREFLIGHT_H

#include "blockmig/job/job.h"
#include "blockmig/datastore/datastore.h"
#include "blockmig/preflight/checks.h"
#include "snapshot/domain/domain.h"

/*
 * All checks of a planned job (its disks chosen, its target paths set) on
 * this domain and store. A negative errno only when a check could not be
 * made at all; refusals are in the list.
 */
int bm_preflight_run(struct bm_connection *conn, struct bm_domain *domain,
                     const struct bm_datastore *store, const struct bm_job *job,
                     struct bm_preflight *preflight, struct bm_error *err);

/* The same of a planned merge (BM_STRATEGY_MERGE). */
int bm_preflight_merge(struct bm_connection *conn, struct bm_domain *domain,
                       const struct bm_job *job, struct bm_preflight *preflight,
                       struct bm_error *err);

int bm_preflight_view(struct bm_connection *conn, struct bm_domain *domain,
                      const struct bm_job *job, struct bm_preflight *preflight,
                      struct bm_error *err);
/* As bm_preflight_run, of the others. */
int bm_preflight_snapshot(struct bm_connection *conn, struct bm_domain *domain,
                          const struct bm_job *job, int64_t max_depth,
                          struct bm_preflight *preflight, struct bm_error *err);

#endif
