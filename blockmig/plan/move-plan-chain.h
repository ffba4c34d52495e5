// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The plan's part on chains: which layers get an image of their own, which stay
 * where they are, how each is made, and their names. Internal to move-plan.c.
 */
#ifndef BM_PLAN_MOVE_PLAN_CHAIN_H
#define BM_PLAN_MOVE_PLAN_CHAIN_H

#include "blockmig/plan/move-plan.h"

/* Decides job->chain, and for each disk which layers are below the new image:
 * `below`, `lower`, `shared`. The strategy is chosen. What was asked for and
 * cannot be done is refused. */
int bm_plan_chains(struct bm_connection *conn, struct bm_domain *domain,
                   struct bm_job *job, const struct bm_datastore *store,
                   const struct bm_move_options *options, struct bm_error *err);
/* The new image of disk i is in its `dest`: the layers below it, and how they
 * are made. -ENOMEM. */
int bm_plan_layers(struct bm_job *job, size_t i,
                   const struct bm_datastore *store,
                   const struct bm_move_options *options);

/* A path that is free, in that folder, for the new layer k of disk i: the given
 * name, the old layer's, or one that tells the domain and the disk. Caller
 * frees; NULL: out of memory. */
char *bm_plan_name(const struct bm_job *job, size_t i, size_t k,
                   const char *folder, const char *given, const char *format);

#endif
