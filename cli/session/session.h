// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a command holds while it works on a job, and the hooks that a move
 * calls. One owner, one end: cli_session_end in any state of it.
 */
#ifndef CLI_SESSION_SESSION_H
#define CLI_SESSION_SESSION_H

#include "blockmig/control/control-server.h"
#include "blockmig/guard/guard.h"
#include "blockmig/engine/engine.h"
#include "cli/options/invocation.h"
#include "snapshot/libvirt/connection.h"

struct cli_session {
    const struct cli_options *options;
    struct bm_guard *guard;
    struct bm_connection *conn;
    struct bm_job_store *jobs;
    struct bm_job *job;
    struct bm_control *control;
    struct bm_run_hooks hooks;
    int lock;          /* the run lock, -1: not held */
    int64_t published; /* bm_now_ms */
};
#define CLI_SESSION_INIT(o)                                                    \
    {                                                                          \
        .options = (o), .lock = -1                                             \
    }

/* The store that --state names, or the default one. */
int cli_open_jobs(const struct cli_options *options, bool readonly,
                  struct bm_job_store **out, struct bm_error *err);

/* The guard, while there is one thread only; then the connection, and its watch
 * (cli/session/store-watchdog.h). */
int cli_session_connect(struct cli_session *s, const struct cli *cli,
                        struct bm_error *err);
/* From now on SIGINT, SIGTERM and SIGHUP are a wish to cancel: there is
 * something to tidy up. */
void cli_session_catch_signals(void);
bool cli_interrupted(void);
/* The job of that id, under its run lock (bm_launch_take_up). Catches signals.
 */
int cli_session_take_up(struct cli_session *s, const char *id,
                        struct bm_error *err);
/* What the engine is given; the hooks are the session's. */
struct bm_engine cli_session_engine(struct cli_session *s);
/* Listens for `job watch` and `job cancel`. */
int cli_session_listen(struct cli_session *s, struct bm_error *err);
/* What became of the job: prints the result; the exit status, or rc with
 * err's status set from the job. */
int cli_session_report(struct cli_session *s, int rc, struct bm_error *err);
void cli_session_end(struct cli_session *s);

#endif
