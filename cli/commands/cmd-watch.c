// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/commands/commands.h"
#include "cli/output/output.h"
#include "cli/session/session.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-store-ops.h"
#include "blockmig/run/hooks.h"

#include <errno.h>
#include <string.h>

#define WATCH_MS 300

static uint64_t member(json_object *o, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(o, name, &value)
               ? json_object_get_uint64(value)
               : 0;
}

static bool flag(json_object *o, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(o, name, &value) &&
           json_object_get_boolean(value);
}

/* What the running job published last, as its hook saw it. */
static int parse_status(const char *text, struct bm_progress *out)
{
    json_object *o = json_tokener_parse(text), *phase;
    int rc = -EPROTO;

    if (json_object_object_get_ex(o, "phase", &phase))
        rc = bm_state_from_name(json_object_get_string(phase), &out->state);
    if (rc == 0) {
        out->bytes_done = member(o, "bytes_done");
        out->bytes_total = member(o, "bytes_total");
        out->rate = member(o, "rate");
        out->elapsed_ms = (int64_t)member(o, "elapsed_ms");
        out->paused = flag(o, "paused");
    }
    json_object_put(o);
    return rc;
}

static void show_status(const struct bm_job_store *jobs,
                        const struct bm_job *job)
{
    BM_FREE char *answer = NULL;
    struct bm_progress progress;

    if (bm_control_ask(bm_job_store_dir(jobs), job->id, "status", &answer,
                       NULL) == 0 &&
        parse_status(answer, &progress) == 0)
        cli_progress(job, &progress);
}

static int dead(struct bm_job *job, struct bm_error *err)
{
    cli_result(job);
    bm_fail(err, EOWNERDEAD, "job %s", job->id);
    if (job->result.error)
        bm_cause(err, "%s", job->result.error);
    else
        bm_cause(err, "nobody runs it; it stopped in state %s",
                 bm_state_name(job->state));
    bm_remedy(err, "run 'blockmig job resume %s'", job->id);
    bm_status(err, BM_EXIT_HELD);
    return -EOWNERDEAD;
}

static int ended(const struct bm_job *job, struct bm_error *err)
{
    cli_result(job);
    if (job->result.exit_status == BM_EXIT_DONE)
        return BM_EXIT_DONE;
    bm_fail(err, ECANCELED, "job %s", job->id);
    bm_cause(err, "%s",
             job->result.error ? job->result.error : bm_state_name(job->state));
    bm_status(err, (enum bm_exit)job->result.exit_status);
    return -ECANCELED;
}

/* What the last look has found. */
struct seen_context {
    int state; /* -1: nothing yet */
    bool paused;
};

static void tell(const struct bm_job *job, struct seen_context *seen)
{
    bool paused = job->paused;

    if ((int)job->state != seen->state)
        cli_event(job, NULL);
    if (paused != seen->paused && (paused || (int)job->state == seen->state))
        cli_event(job, paused ? "paused" : "goes on");
    seen->state = (int)job->state;
    seen->paused = paused;
}

/* 1: go on; else as a command returns. Whether it runs is asked before its
 * journal is read: the other way round an end in between looks like a death. */
static int look(struct bm_job_store *jobs, const char *id,
                struct seen_context *seen, struct bm_error *err)
{
    struct bm_job *job = NULL;
    bool running = bm_job_running(jobs, id);
    int rc = bm_job_store_load(jobs, id, &job, err);

    if (rc < 0)
        return rc;
    if (!running) /* a pause lives as long as its process */
        job->paused = false;
    tell(job, seen);
    if (bm_state_final(job->state)) {
        rc = ended(job, err);
    } else if (!running) {
        job->result.exit_status = BM_EXIT_HELD;
        rc = dead(job, err);
    } else {
        show_status(jobs, job);
        rc = 1;
    }
    bm_job_free(job);
    return rc;
}

int cli_job_watch(struct cli *cli, struct bm_error *err)
{
    struct bm_job_store *jobs = NULL;
    struct seen_context seen = {.state = -1};
    int rc = cli_open_jobs(&cli->options, true, &jobs, err);

    while (rc == 0) {
        rc = look(jobs, cli->args[0], &seen, err);
        if (rc != 1)
            break;
        bm_sleep_ms(WATCH_MS);
        rc = 0;
    }
    bm_job_store_close(jobs);
    return rc;
}
