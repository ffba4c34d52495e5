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
static void catch_signals(void)
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

int cli_session_lock(struct cli_session *s, const char *id,
                     struct bm_error *err)
{
    int fd;

    catch_signals();
    fd = bm_job_run_lock(s->jobs, id ? id : s->job->id, err);
    if (fd < 0)
        return fd;
    s->lock = fd;
    if (!id)
        return 0;
    bm_job_free(BM_STEAL(s->job));
    return bm_job_store_load(s->jobs, id, &s->job, err);
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
    o = cli_progress_json(job, progress);
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

int cli_session_listen(struct cli_session *s, struct bm_run_hooks *hooks,
                       struct bm_error *err)
{
    *hooks = (struct bm_run_hooks){.opaque = s,
                                   .progress = on_progress,
                                   .event = on_event,
                                   .cancelled = on_cancelled,
                                   .decision = on_decision,
                                   .limits = on_limits,
                                   .paused = on_paused};
    return bm_control_start(bm_job_store_dir(s->jobs), s->job->id, &s->control,
                            err);
}

int cli_session_report(struct cli_session *s, int rc, struct bm_error *err)
{
    struct bm_job *job = s->job;

    /* a run that failed must not say 0, whatever the journal says */
    if (rc < 0 && job->result.exit_status == BM_EXIT_DONE)
        job->result.exit_status = (int)err->status;
    if (rc < 0 && !job->result.error) {
        char line[2100];

        bm_error_line(err, line, sizeof line);
        job->result.error = strdup(line);
    }
    cli_result(job);
    if (rc < 0)
        err->status = (enum bm_exit)job->result.exit_status;
    return rc < 0 ? rc : job->result.exit_status;
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
