// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the plans of snapshot create and revert share: snapshot-plan.c. */
#ifndef BM_PLAN_SNAPSHOT_PLAN_PRIVATE_H
#define BM_PLAN_SNAPSHOT_PLAN_PRIVATE_H

#include "blockmig/plan/snapshot-plan.h"

int bm_snapshot_no_memory(struct bm_error *err);
int bm_snapshot_new_job(struct bm_connection *conn,
                        const struct bm_domain *domain, const char *verb,
                        enum bm_strategy strategy, struct bm_job **out,
                        struct bm_error *err);
/* The name that is asked for, or the time; and the description. */
int bm_snapshot_set_name(const struct bm_domain *domain,
                         const struct bm_restore_points *points,
                         const struct bm_snapshot_options *options,
                         struct bm_job *job, struct bm_error *err);
/* list: "vda,vdb", or NULL: each must be a disk of the domain. */
int bm_snapshot_check_listed(struct bm_domain *domain, const char *list,
                             struct bm_error *err);
/* What is listed; else what is written to, and has an image. */
bool bm_snapshot_wanted(const struct bm_disk *disk, const char *list);
/* The disk stands on `source`, and will on the overlay (taken over) on
 * `below`. */
int bm_snapshot_add_disk(struct bm_job *job, struct bm_disk *from,
                         const struct bm_chain *source,
                         const struct bm_chain *below, char *overlay,
                         struct bm_error *err);

#endif
