// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The commands that work on a job again: job resume and job release. */
#include "cli/session/control-client.h"
#include "cli/commands/commands.h"
#include "cli/output/output.h"
#include "cli/session/session.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-store-ops.h"
#include "blockmig/report/job-names.h"
#include "blockmig/report/job-report.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * The job's own connection, unless another is given. Read from a store that
 * is closed again: the guard is forked next and must not inherit one.
 */
static int job_uri(struct cli *cli, char **uri, struct bm_error *err)
{
    struct bm_job_store *jobs = NULL;
    struct bm_job *job = NULL;
    int rc = cli_open_jobs(&cli->options, true, &jobs, err);

    if (rc == 0)
        rc = bm_job_store_load(jobs, cli->args[0], &job, err);
    if (rc == 0) {
        *uri = cli->options.connect ? strdup(cli->options.connect)
                                    : BM_STEAL(job->uri);
    }
    bm_job_free(job);
    bm_job_store_close(jobs);
    return rc;
}

static int open_job(struct cli *cli, struct cli_session *s,
                    struct bm_error *err)
{
    int rc = cli_open_jobs(&cli->options, false, &s->jobs, err);

    return rc < 0 ? rc : cli_session_take_up(s, cli->args[0], err);
}

/* A job that has ended is told as it ended; only the way back is shut. */
static int ended(struct cli_session *s, bool back, struct bm_error *err)
{
    if (!back || s->job->state == BM_STATE_ROLLED_BACK)
        return cli_session_report(s, 0, err);
    bm_fail(err, EALREADY, "cannot go back in job %s", s->job->id);
    bm_cause(err, "it is finished (%s)", bm_state_name(s->job->state));
    bm_remedy(err, "move the disks back with 'blockmig move %s --to STORE'",
              s->job->domain);
    bm_status(err, BM_EXIT_REFUSED);
    return -EALREADY;
}

static int resume(struct cli *cli, struct cli_session *s, struct bm_error *err)
{
    enum bm_resume how = cli->options.back     ? BM_RESUME_BACK
                         : cli->options.accept ? BM_RESUME_ACCEPT
                                               : BM_RESUME_ON;
    const struct bm_engine engine = cli_session_engine(s);
    int rc = cli_session_listen(s, err);

    if (rc < 0)
        return rc;
    rc = bm_engine_resume(&engine, how, err);
    return cli_session_report(s, rc, err);
}

static void tell_pause_ended(const struct cli *cli, const char *id)
{
    json_object *o;

    cli_say("%s: goes on; see it with 'blockmig job watch %s'\n", id, id);
    if (!cli->options.json)
        return;
    o = bm_report_event("result", id);
    if (o) {
        bm_report_add_number(o, "exit_status", BM_EXIT_DONE);
        bm_report_add_bool(o, "resuming", true);
    }
    cli_result_json_line(o);
}

/* A job that stands still because its user wanted that. false: it is not so,
 * and what it is else the run lock will say. */
static bool end_pause(struct cli *cli)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_job_store *jobs = NULL;
    const char *id = cli->args[0];
    bool ended = !cli->options.back && !cli->options.accept &&
                 cli_open_jobs(&cli->options, true, &jobs, &ignored) == 0 &&
                 bm_job_running(jobs, id) &&
                 cli_ask(jobs, id, "resume", "resume", &ignored) == 0;

    bm_job_store_close(jobs);
    if (ended)
        tell_pause_ended(cli, id);
    return ended;
}

int cli_job_resume(struct cli *cli, struct bm_error *err)
{
    struct cli_session s = CLI_SESSION_INIT(&cli->options);
    BM_FREE char *uri = NULL;
    int rc;

    if (end_pause(cli))
        return BM_EXIT_DONE;
    rc = job_uri(cli, &uri, err);
    if (rc < 0)
        return rc;
    /* the guard first, while we have one thread; the connection may be out
     * of reach, and a job that has ended needs none */
    rc = bm_guard_start(uri, &s.guard, err);
    if (rc == 0)
        rc = open_job(cli, &s, err);
    if (rc == 0 && bm_state_final(s.job->state)) {
        rc = ended(&s, cli->options.back, err);
    } else if (rc == 0) {
        rc = bm_connection_open(uri, &s.conn, err);
        if (rc < 0)
            bm_status(err, BM_EXIT_HELD);
        else
            rc = resume(cli, &s, err);
    }
    cli_session_end(&s);
    return rc;
}

static int nothing_kept(const struct bm_job *job, struct bm_error *err)
{
    bm_fail(err, ENOENT, "cannot release job %s", job->id);
    bm_cause(err, bm_state_final(job->state) ? "it keeps no source image"
                                             : "it is not finished");
    bm_remedy(err, "see 'blockmig job list --kept'");
    bm_status(err, BM_EXIT_REFUSED);
    return -ENOENT;
}

static void print_released(const struct cli *cli, const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++) {
        const struct bm_job_disk *disk = &job->disks[i];

        if (disk->deleted)
            cli_say("deleted %s\n", bm_report_source_name(disk));
        for (size_t k = 1; k <= disk->n_lower; k++)
            if (disk->lower[k - 1].deleted)
                cli_say("deleted %s\n", bm_report_layer_name(disk, k));
    }
    if (cli->options.json)
        cli_json(bm_report_result(job));
}

static int release(struct cli *cli, struct cli_session *s, const char *uri,
                   struct bm_error *err)
{
    int rc = open_job(cli, s, err);

    if (rc < 0)
        return rc;
    if (!bm_state_final(s->job->state) || !bm_report_keeps(s->job))
        return nothing_kept(s->job, err);
    rc = bm_connection_open(uri, &s->conn, err);
    if (rc == 0)
        rc = bm_engine_release(s->conn, s->jobs, s->job, err);
    if (rc < 0)
        return rc;
    print_released(cli, s->job);
    return 0;
}

int cli_job_release(struct cli *cli, struct bm_error *err)
{
    struct cli_session s = CLI_SESSION_INIT(&cli->options);
    BM_FREE char *uri = NULL;
    int rc = job_uri(cli, &uri, err);

    if (rc == 0)
        rc = release(cli, &s, uri, err);
    cli_session_end(&s);
    return rc;
}
