// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* snapshot create, and snapshot revert. */
#include "blockmig/plan/snapshot-plan.h"
#include "cli/session/launch.h"
#include "cli/commands/verify.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-store-ops.h"
#include "cli/commands/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct make_context {
    struct cli_session session; /* job, connection, ... */
    struct cli_snapshot_context of;
    char *overlay_dir; /* absolute */
};

static void make_end(struct make_context *m)
{
    cli_snapshot_context_end(&m->of);
    cli_session_end(&m->session);
    free(m->overlay_dir);
}
#define MAKE __attribute__((cleanup(make_end))) struct make_context

static int plan(struct make_context *m, const struct cli *cli,
                struct bm_error *err)
{
    const struct cli_options *o = &cli->options;
    const struct bm_snapshot_options options = {
        .name = cli->n_args > 1 ? cli->args[1] : NULL,
        .disks = o->disk,
        .description = o->description,
        .overlay_dir = m->overlay_dir,
        .memory = o->memory,
        .quiesce = o->quiesce,
        .force = o->force,
        .max_depth = o->max_depth,
        .max_pause_ms = (int)o->max_pause,
    };
    bool revert = !strcmp(cli->command->words, "snapshot revert");

    return (revert ? bm_snapshot_plan_revert : bm_snapshot_plan_create)(
        m->session.conn, m->of.domain, &m->of.points, &m->of.tree, &options,
        &m->session.job, err);
}

static int look(void *opaque, const struct cli *cli, struct bm_error *err)
{
    struct make_context *m = opaque;
    int rc = cli_overlay_dir(&cli->options, &m->overlay_dir, err);

    if (rc == 0)
        rc = cli_snapshot_context_look(cli, m->session.conn, CLI_KIN_ALL,
                                       &m->of, err);
    return rc ? rc : plan(m, cli, err);
}

static int preflight(void *opaque, struct bm_preflight *out,
                     struct bm_error *err)
{
    struct make_context *m = opaque;

    return bm_preflight_snapshot(m->session.conn, m->of.domain, m->session.job,
                                 m->session.options->max_depth, out, err);
}

static const struct cli_task task = {look, preflight, bm_snapshot_plan_text};

static int dry_run(struct cli *cli, struct bm_error *err)
{
    MAKE m = {.session = CLI_SESSION_INIT(&cli->options)};

    return cli_task_dry_run(cli, &m.session, &task, &m, err);
}

/* *name, if the point is there, is the caller's to free. */
static int make_now(struct cli *cli, char **name, struct bm_error *err)
{
    MAKE m = {.session = CLI_SESSION_INIT(&cli->options)};
    int rc = cli_task_run(cli, &m.session, &task, &m, err);

    if (rc == 0)
        *name = strdup(m.session.job->snapshot->name);
    return rc;
}

/* The digests of the layers that do not change any more. */
static int note_now(struct cli *cli, const char *name, struct bm_error *err)
{
    const struct bm_restore_point *point;
    struct bm_job_store *jobs = NULL;
    CLI_SNAPSHOT_CONTEXT context = {0};
    int rc = cli_snapshot_context_read(cli, CLI_KIN_OWN, &context, err);

    if (rc == 0)
        rc = cli_snapshot_context_point(&context, name, &point, err);
    if (rc == 0)
        rc = cli_open_jobs(&cli->options, false, &jobs, err);
    if (rc == 0)
        rc = cli_verify(&context, &cli->options, bm_job_store_dir(jobs), point,
                        err);
    bm_job_store_close(jobs);
    return rc;
}

int cli_snapshot_make(struct cli *cli, struct bm_error *err)
{
    BM_FREE char *name = NULL;
    int rc;

    if (cli->options.manifest && strcmp(cli->options.manifest, "now") != 0) {
        bm_fail(err, EINVAL, "option --manifest '%s'", cli->options.manifest);
        bm_cause(err, "the only word here is: now");
        return bm_status(err, BM_EXIT_USAGE), -EINVAL;
    }
    if (cli->options.bandwidth && !cli->options.manifest) {
        bm_fail(err, EINVAL, "option --bandwidth");
        bm_cause(err, "it is of use with --manifest now only");
        return bm_status(err, BM_EXIT_USAGE), -EINVAL;
    }
    if (cli->options.mode && !strcmp(cli->options.mode, "cow"))
        return cli_snapshot_view(cli, err);
    if (cli->options.dry_run)
        return dry_run(cli, err);
    rc = make_now(cli, &name, err);
    return rc == 0 && cli->options.manifest && name ? note_now(cli, name, err)
                                                    : rc;
}
