// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* snapshot create, and snapshot revert. */
#include "blockmig/answers.h"
#include "blockmig/snapshot-plan.h"
#include "cli/launch.h"
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

int cli_snapshot_make(struct cli *cli, struct bm_error *err)
{
    MAKE m = {.session = CLI_SESSION_INIT(&cli->options)};
    int rc;

    if (cli->options.dry_run)
        return dry_run(cli, err);
    rc = cli_session_connect(&m.session, cli->options.connect, err);
    if (rc == 0)
        rc = look(&m, cli, err);
    return rc < 0 ? rc : cli_launch(cli, &m.session, preflight, &m, err);
}
