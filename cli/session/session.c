// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/session/session.h"

#include "cli/output/output.h"
#include "cli/session/store-watchdog.h"
#include "nbd/base/cleanup.h"
#include "nbd/thread/background.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-store-ops.h"
#include "blockmig/run/hooks.h"
#include "blockmig/engine/launch.h"
#include "blockmig/report/progress.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define PUBLISH_MS 200

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = 1;
}

/* A system call goes on after them: the move looks at the flag by itself. */
void cli_session_catch_signals(void)
{
    const struct sigaction action = {.sa_handler = on_signal,
                                     .sa_flags = SA_RESTART};
    struct sigaction hup;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* nohup and --detach mean what they say */
    if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
}

bool cli_interrupted(void)
{
    return interrupted != 0;
}

int cli_open_jobs(const struct cli_options *options, bool readonly,
                  struct bm_job_store **out, struct bm_error *err)
{
    BM_FREE char *dir =
        options->state ? strdup(options->state) : bm_state_dir_default();

    if (!dir)
        return bm_fail_errno(err, ENOMEM, "cannot find the state directory");
    return bm_job_store_open(dir, readonly, out, err);
}

int cli_session_connect(struct cli_session *s, const struct cli *cli,
                        struct bm_error *err)
{
    int rc = bm_guard_start(cli->options.connect, &s->guard, err);

    return rc < 0 ? rc : cli_watchdog_connect(cli, &s->conn, err);
}

int cli_session_take_up(struct cli_session *s, const char *id,
                        struct bm_error *err)
{
    cli_session_catch_signals();
    return bm_launch_take_up(s->jobs, id, &s->job, &s->lock, err);
}

/* --- hooks: all called from the moving thread --------------------------- */

static void publish(struct cli_session *s, const struct bm_job *job,
                    const struct bm_progress *progress)
{
    int64_t now = bm_now_ms();
    json_object *o;
    const char *text;

    if (!s->control || (s->published && now - s->published < PUBLISH_MS))
        return;
    s->published = now;
    o = bm_report_progress(job->id, bm_state_name(progress->state), progress);
    text = o ? json_object_to_json_string_ext(
                   o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
             : NULL;
    if (text)
        bm_control_publish(s->control, text);
    json_object_put(o);
}

static void on_progress(void *opaque, const struct bm_job *job,
                        const struct bm_progress *progress)
{
    publish(opaque, job, progress);
    cli_progress(job, progress);
}

static void on_event(void *opaque, const struct bm_job *job, const char *text)
{
    const struct bm_progress none = {.state = job->state,
                                     .paused = job->paused};
    struct cli_session *s = opaque;

    s->published = 0; /* a new state is told at once */
    publish(s, job, &none);
    s->published = 0;
    cli_event(job, text);
}

static bool on_cancelled(void *opaque)
{
    struct cli_session *s = opaque;

    return interrupted || (s->control && bm_control_cancelled(s->control));
}

static enum bm_settle_decision on_decision(void *opaque)
{
    struct cli_session *s = opaque;

    return s->control ? bm_control_decision(s->control) : BM_DECISION_NONE;
}

static bool on_limits(void *opaque, struct bm_limits *out)
{
    struct cli_session *s = opaque;

    return s->control && bm_control_limits(s->control, out);
}

static bool on_paused(void *opaque)
{
    struct cli_session *s = opaque;

    return s->control && bm_control_paused(s->control);
}

struct bm_engine cli_session_engine(struct cli_session *s)
{
    s->hooks = (struct bm_run_hooks){.opaque = s,
                                     .progress = on_progress,
                                     .event = on_event,
                                     .cancelled = on_cancelled,
                                     .decision = on_decision,
                                     .limits = on_limits,
                                     .paused = on_paused};
    return (struct bm_engine){.conn = s->conn,
                              .jobs = s->jobs,
                              .job = s->job,
                              .guard = s->guard,
                              .hooks = &s->hooks};
}

int cli_session_listen(struct cli_session *s, struct bm_error *err)
{
    return bm_control_start(bm_job_store_dir(s->jobs), s->job->id, &s->control,
                            err);
}

int cli_session_report(struct cli_session *s, int rc, struct bm_error *err)
{
    int status = bm_launch_result(s->job, rc, err);

    cli_result(s->job);
    return status;
}

void cli_session_end(struct cli_session *s)
{
    bm_control_stop(s->control);
    /* the guard acts when its pipe closes: it goes before the connection
     * could keep us waiting */
    bm_guard_stop(s->guard);
    bm_connection_close(s->conn);
    if (s->lock >= 0)
        bm_job_run_unlock(s->jobs, s->job ? s->job->id : "", s->lock);
    if (bm_background_left()) /* what hangs may still look at the job */
        s->job = NULL;
    bm_job_free(s->job);
    bm_job_store_close(s->jobs);
}
