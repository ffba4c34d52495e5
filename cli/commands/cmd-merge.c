// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The snapshot commands that merge layers: delete, commit, consolidate. */
#include "blockmig/plan/merge-plan.h"
#include "cli/session/detach.h"
#include "cli/session/launch.h"
#include "cli/output/output.h"
#include "cli/session/view-lookup.h"
#include "cli/session/store-watchdog.h"
#include "blockmig/job/job-store-ops.h"
#include "cli/commands/commands.h"
#include "blockmig/report/job-report.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct merge {
    struct cli_session session; /* job, connection, ... */
    struct cli_snapshot_context of;
};

static void merge_end(struct merge *m)
{
    cli_snapshot_context_end(&m->of);
    cli_session_end(&m->session);
}
#define MERGE __attribute__((cleanup(merge_end))) struct merge

/* --- the plan ----------------------------------------------------------- */

static enum bm_merge_proof proof_of(const struct cli_options *o)
{
    if (!o->proof || !strcmp(o->proof, "touched"))
        return BM_PROOF_TOUCHED;
    return strcmp(o->proof, "full") ? BM_PROOF_NONE : BM_PROOF_FULL;
}

static int plan(struct merge *m, const struct cli *cli, struct bm_error *err)
{
    const struct cli_options *o = &cli->options;
    struct bm_merge_options options = {
        .verb = cli->command->words + strlen("snapshot "),
        .name = cli->n_args > 1 ? cli->args[1] : NULL,
        .children = o->children,
        .disk = o->disk,
        .top = o->top,
        .base = o->base,
        .depth = o->depth,
        .keep = o->keep,
        .older_than_ms = o->older_than,
        .force = o->force,
        .proof = proof_of(o),
        .bandwidth = o->bandwidth,
        .guest_latency = o->guest_latency,
        .max_pause_ms = (int)o->max_pause,
    };

    struct bm_disk *disk;
    int rc = 0;

    if (o->disk || !strcmp(options.verb, "commit")) {
        rc = cli_disk(m->of.domain, o->disk, &disk, err);
        options.disk = rc ? NULL : disk->target;
    }
    return rc ? rc
              : bm_merge_plan(m->session.conn, m->of.domain, &m->of.points,
                              &m->of.tree, &options, &m->session.job, err);
}

static int look(void *opaque, const struct cli *cli, struct bm_error *err)
{
    struct merge *m = opaque;
    int rc = cli_snapshot_context_look(cli, m->session.conn, CLI_KIN_ALL,
                                       &m->of, err);

    if (!rc)
        rc = cli_view_none(&cli->options, m->of.domain, err);
    return rc ? rc : plan(m, cli, err);
}

static int preflight(void *opaque, struct bm_preflight *out,
                     struct bm_error *err)
{
    struct merge *m = opaque;

    return bm_preflight_merge(m->session.conn, m->of.domain, m->session.job,
                              out, err);
}

/* --- the command -------------------------------------------------------- */

static const struct cli_task task = {look, preflight, bm_merge_plan_text};

static int dry_run(struct cli *cli, struct bm_error *err)
{
    MERGE m = {.session = CLI_SESSION_INIT(&cli->options)};

    return cli_task_dry_run(cli, &m.session, &task, &m, err);
}

static bool nothing_to_do(const struct bm_job *job)
{
    return job->snapshot->n_merges == 0 && job->snapshot->n_points == 0;
}

static int say_nothing_to_do(struct merge *m, const struct cli *cli)
{
    json_object *o = cli->options.json ? bm_report_event("result", NULL) : NULL;

    cli_say("nothing is to be done: no layer of %s can go\n",
            m->of.domain->name);
    if (!cli->options.json)
        return BM_EXIT_DONE;
    if (o) {
        bm_report_add_number(o, "exit_status", BM_EXIT_DONE);
        bm_report_add_text(o, "domain", m->of.domain->name);
        bm_report_add_bool(o, "nothing_to_do", true);
    }
    cli_result_json_line(o);
    return BM_EXIT_DONE;
}

static int merge_now(struct cli *cli, struct bm_error *err)
{
    MERGE m = {.session = CLI_SESSION_INIT(&cli->options)};
    int rc = cli_session_connect(&m.session, cli, err);

    if (rc == 0)
        rc = look(&m, cli, err);
    if (rc < 0)
        return rc;
    if (nothing_to_do(m.session.job))
        return say_nothing_to_do(&m, cli);
    return cli_launch(cli, &m.session, &task, &m, err);
}

/* --- a view -------------------------------------------------------------- */

static int say_view_would_end(const struct cli *cli, const struct bm_job *view,
                              struct bm_error *err)
{
    const struct bm_preflight none = {0};
    char *text;

    if (asprintf(&text, "the view %s of %s ends; no image is changed",
                 view->snapshot->name, view->domain) < 0)
        text = NULL;
    return cli_print_dry(cli, &none, text, err);
}

static int end_view(const struct cli *cli, struct bm_job_store *jobs,
                    const struct bm_job *view, struct bm_error *err)
{
    int rc;

    if (cli->options.dry_run)
        return say_view_would_end(cli, view, err);
    rc = cli_view_end(jobs, view, err);
    if (rc)
        return rc;
    cli_say("the view %s of %s has ended\n", view->snapshot->name,
            view->domain);
    if (cli->options.json)
        cli_result_json_line(bm_report_result(view));
    return BM_EXIT_DONE;
}

/* Whether a view of that name lives: of any domain, then of this one. */
static int find_view(const struct cli *cli, struct bm_job_store *jobs,
                     struct bm_job **view, struct bm_error *err)
{
    CLI_SNAPSHOT_CONTEXT of = {0};
    int rc = cli_view_find(jobs, NULL, cli->args[1], view, err);

    if (rc || !*view)
        return rc;
    bm_job_free(*view);
    *view = NULL;
    rc = cli_snapshot_context_read(cli, CLI_KIN_NONE, &of, err);
    /* a merge forks yet, and a view takes its time to end */
    (void)cli_watchdog_end();
    return rc ? rc
              : cli_view_find(jobs, of.domain->uuid, cli->args[1], view, err);
}

/* 1: that was the name of a view, and that is done. */
static int delete_view(const struct cli *cli, struct bm_error *err)
{
    struct bm_job_store *jobs = NULL;
    struct bm_job *view = NULL;
    int rc = cli_open_jobs(&cli->options, true, &jobs, err);

    if (!rc)
        rc = find_view(cli, jobs, &view, err);
    if (!rc && view)
        rc = end_view(cli, jobs, view, err);
    rc = rc ? rc : view != NULL;
    bm_job_free(view);
    bm_job_store_close(jobs);
    return rc;
}

int cli_snapshot_merge(struct cli *cli, struct bm_error *err)
{
    int rc = cli->n_args > 1 ? delete_view(cli, err) : 0;

    if (rc)
        return rc < 0 ? rc : BM_EXIT_DONE;
    if (cli->options.dry_run)
        return dry_run(cli, err);
    if (cli->options.detach)
        return cli_detach(cli, merge_now, err);
    return merge_now(cli, err);
}
