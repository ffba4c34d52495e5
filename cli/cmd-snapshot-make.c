// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* snapshot create, and snapshot revert. */
#include "blockmig/answers.h"
#include "blockmig/snapshot-plan.h"
#include "cli/launch.h"
#include "cli/verify.h"
#include "nbd/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct make {
    struct cli_session session; /* job, connection, ... */
    struct bm_domain *domain;
    struct bm_points points;
    struct bm_kin kin;
    struct bm_preflight preflight;
    char *overlay_dir; /* absolute */
};

static void make_end(struct make *m)
{
    bm_preflight_clear(&m->preflight);
    bm_kin_clear(&m->kin);
    bm_points_clear(&m->points);
    bm_domain_free(m->domain);
    cli_session_end(&m->session);
    free(m->overlay_dir);
}
#define MAKE __attribute__((cleanup(make_end))) struct make

static int plan(struct make *m, const struct cli *cli, struct bm_error *err)
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
        m->session.conn, m->domain, &m->points, &m->kin, &options,
        &m->session.job, err);
}

static int look(struct make *m, const struct cli *cli, struct bm_error *err)
{
    int rc = cli_overlay_dir(&cli->options, &m->overlay_dir, err);

    if (rc == 0)
        rc = bm_domain_open(m->session.conn, cli->args[0], &m->domain, err);
    if (rc == 0)
        rc = bm_points_read(m->domain, &m->points, err);
    if (rc == 0)
        rc = bm_kin_find(m->session.conn, m->domain, &m->points, true, &m->kin,
                         err);
    if (rc == 0)
        rc = plan(m, cli, err);
    return rc < 0 ? rc : cli_keep_uri(&m->session, err);
}

static int preflight(void *opaque, struct bm_preflight *out,
                     struct bm_error *err)
{
    struct make *m = opaque;

    return bm_preflight_snapshot(m->session.conn, m->domain, m->session.job,
                                 m->session.options->max_depth, out, err);
}

/* No guard: nothing is paused; no job store: none may be made. */
static int dry_run(struct cli *cli, struct bm_error *err)
{
    MAKE m = {.session = CLI_SESSION_INIT(&cli->options)};
    int rc = bm_connection_open(cli->options.connect, &m.session.conn, err);

    if (rc == 0)
        rc = look(&m, cli, err);
    if (rc == 0)
        rc = preflight(&m, &m.preflight, err);
    return rc < 0 ? rc
                  : cli_dry_run(cli, &m.preflight,
                                bm_snapshot_plan_text(m.session.job), err);
}

/* *name, if the point is there, is the caller's to free. */
static int make_now(struct cli *cli, char **name, struct bm_error *err)
{
    MAKE m = {.session = CLI_SESSION_INIT(&cli->options)};
    int rc = cli_session_connect(&m.session, cli->options.connect, err);

    if (rc == 0)
        rc = look(&m, cli, err);
    if (rc == 0)
        rc = cli_launch(cli, &m.session, preflight, &m, err);
    if (rc == 0)
        *name = strdup(m.session.job->snapshot->name);
    return rc;
}

/* The digests of the layers that do not change any more. */
static int note_now(struct cli *cli, const char *name, struct bm_error *err)
{
    const struct bm_point *point;
    struct bm_job_store *jobs = NULL;
    CLI_PEDIGREE pedigree = {0};
    int rc = cli_pedigree_read(cli, CLI_KIN_OWN, &pedigree, err);

    if (rc == 0)
        rc = cli_pedigree_point(&pedigree, name, &point, err);
    if (rc == 0)
        rc = cli_open_jobs(&cli->options, false, &jobs, err);
    if (rc == 0)
        rc = cli_verify(&pedigree, &cli->options, bm_job_store_dir(jobs), point,
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
    if (cli->options.mode && !strcmp(cli->options.mode, "cow"))
        return cli_snapshot_view(cli, err);
    if (cli->options.dry_run)
        return dry_run(cli, err);
    rc = make_now(cli, &name, err);
    return rc == 0 && cli->options.manifest && name ? note_now(cli, name, err)
                                                    : rc;
}
