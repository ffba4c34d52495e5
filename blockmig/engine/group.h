// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Restore points of several domains at one instant: all guests are paused, each
 * under a guard of its own, all transactions are made, all run again.
 */
#ifndef BM_ENGINE_GROUP_H
#define BM_ENGINE_GROUP_H

#include "blockmig/guard/guard.h"
#include "blockmig/engine/engine.h"

struct bm_group_member {
    struct bm_job *job;     /* planned, checked, claimed; the caller's */
    struct bm_guard *guard; /* the caller's */
    const struct bm_run_hooks *hooks;
    int rc; /* out: how its job ended, as of bm_engine_run */
    struct bm_error err;
};

/* 0: every restore point is there, and no guest ran between the first and the
 * last. Else the first reason; the members say what became of each. */
int bm_group_run(struct bm_connection *conn, struct bm_job_store *store,
                 struct bm_group_member *members, size_t n,
                 struct bm_error *err);

#endif
