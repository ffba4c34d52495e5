// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the caller of a running job gives to it: where it tells its progress and
 * its events, and where it asks what the user wants.
 *
 * Threads: the hooks are called from the moving thread.
 */
#ifndef BM_RUN_HOOKS_H
#define BM_RUN_HOOKS_H

#include "blockmig/control/control-server.h"

struct bm_progress {
    enum bm_state state;
    uint64_t bytes_done, bytes_total; /* of the phase; total 0: not known */
    uint64_t rate;                    /* bytes/s */
    int64_t elapsed_ms;
    /* microseconds: the guest's mean latency and what it is held under; 0:
     * not known, not limited */
    double latency_us, bound_us;
    bool paused; /* by the user: job pause */
};

struct bm_run_hooks {
    void *opaque;
    void (*progress)(void *opaque, const struct bm_job *job,
                     const struct bm_progress *progress);
    /* a state was entered, or something worth a line happened */
    void (*event)(void *opaque, const struct bm_job *job, const char *text);
    /* true once the user asked to stop (SIGINT, SIGTERM) */
    bool (*cancelled)(void *opaque);
    /* what the user asked of a settled job; or NULL */
    enum bm_settle_decision (*decision)(void *opaque);
    /* what the user has set since the last call, or false; or NULL */
    bool (*limits)(void *opaque, struct bm_limits *out);
    /* true while the user wants it to stand still; or NULL */
    bool (*paused)(void *opaque);
};

#endif
