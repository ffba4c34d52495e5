// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/move-plan.h"
#include "blockmig/preflight/preflight.h"
#include "cli/commands/commands.h"
#include "cli/session/detach.h"
#include "cli/session/launch.h"
#include "cli/session/session.h"
#include "nbd/base/cleanup.h"
#include "nbd/device/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct move {
    struct cli_session session; /* job, connection, ... */
    struct bm_domain *domain;
    struct bm_datastore *store;
    char *overlay_dir, *mapfile, *fill_from; /* absolute */
};

static void move_end(struct move *m)
{
    bm_datastore_free(m->store);
    bm_domain_free(m->domain);
    cli_session_end(&m->session);
    free(m->overlay_dir);
    free(m->mapfile);
    free(m->fill_from);
}
#define MOVE __attribute__((cleanup(move_end))) struct move

static int usage(struct bm_error *err, const char *what, const char *cause)
{
    bm_fail(err, EINVAL, "%s", what);
    bm_cause(err, "%s", cause);
    bm_status(err, BM_EXIT_USAGE);
    return -EINVAL;
}

static int check_usage(const struct cli *cli, struct bm_error *err)
{
    if (!cli->options.to)
        return usage(err, "option --to STORE", "missing");
    if (cli->options.name && cli->n_args > 2)
        return usage(err, "option --name", "it names one disk's image only");
    if (cli->options.proof && !strcmp(cli->options.proof, "touched"))
        return usage(err, "option --proof touched",
                     "it is of use where layers are merged only");
    if (strcmp(cli->options.on_read_error, "rescue") != 0 &&
        (cli->options.mapfile || cli->options.fill_from))
        return usage(err, "--mapfile and --fill-from",
                     "are of use with --on-read-error rescue only");
    return 0;
}

/* Whoever resumes the job may stand elsewhere. The file need not exist. */
static int make_absolute(const char *path, char **out, struct bm_error *err)
{
    BM_FREE char *here = NULL;

    if (!path)
        return 0;
    if (path[0] == '/' || bm_is_nbd_uri(path))
        *out = strdup(path);
    else if ((here = getcwd(NULL, 0)) == NULL ||
             asprintf(out, "%s/%s", here, path) < 0)
        *out = NULL;
    return *out ? 0 : bm_fail_errno(err, ENOMEM, "cannot use %s", path);
}

static int find_files(struct move *m, struct bm_error *err)
{
    const struct cli_options *o = m->session.options;
    int rc = cli_overlay_dir(o, &m->overlay_dir, err);

    if (rc == 0)
        rc = make_absolute(o->mapfile, &m->mapfile, err);
    return rc ? rc : make_absolute(o->fill_from, &m->fill_from, err);
}

static int make_plan(struct move *m, const struct cli *cli,
                     struct bm_error *err)
{
    const struct cli_options *o = &cli->options;
    const struct bm_move_options options = {
        .domain = cli->args[0],
        .disks = cli->n_args > 1 ? (const char *const *)(cli->args + 1) : NULL,
        .store = o->to,
        .strategy = o->strategy,
        .format = o->format,
        .chain = o->chain,
        .name = o->name,
        .overlay_dir = m->overlay_dir,
        .overlay_on = o->overlay_on,
        .overlay_max = o->overlay_max,
        .proof = !o->proof || strcmp(o->proof, "full") == 0,
        .proof_asked = o->proof && strcmp(o->proof, "full") == 0,
        .source_delete = strcmp(o->source, "delete") == 0,
        .force = o->force,
        .quiesce = o->quiesce,
        .drop_checkpoints = o->drop_checkpoints,
        .bandwidth = o->bandwidth,
        .max_pause_ms = (int)o->max_pause,
        .switch_max = o->switch_max,
        .settle_ms = o->settle,
        .guest_latency = o->guest_latency,
        .rescue = strcmp(o->on_read_error, "rescue") == 0,
        .mapfile = m->mapfile,
        .fill_from = m->fill_from,
    };

    return bm_plan_make(m->session.conn, m->domain, m->store, &options,
                        &m->session.job, err);
}

static int look(void *opaque, const struct cli *cli, struct bm_error *err)
{
    struct move *m = opaque;
    int rc = find_files(m, err);

    if (rc == 0)
        rc = bm_domain_open(m->session.conn, cli->args[0], &m->domain, err);
    if (rc == 0)
        rc =
            bm_datastore_open(m->session.conn, cli->options.to, &m->store, err);
    if (rc == 0)
        rc = make_plan(m, cli, err);
    return rc;
}

static int preflight(void *opaque, struct bm_preflight *out,
                     struct bm_error *err)
{
    struct move *m = opaque;

    return bm_preflight_run(m->session.conn, m->domain, m->store,
                            m->session.job, out, err);
}

static const struct cli_task task = {look, preflight, bm_plan_text};

static int move_now(struct cli *cli, struct bm_error *err)
{
    MOVE m = {.session = CLI_SESSION_INIT(&cli->options)};

    return cli_task_run(cli, &m.session, &task, &m, err);
}

static int dry_run(struct cli *cli, struct bm_error *err)
{
    MOVE m = {.session = CLI_SESSION_INIT(&cli->options)};

    return cli_task_dry_run(cli, &m.session, &task, &m, err);
}

int cli_move(struct cli *cli, struct bm_error *err)
{
    int rc = check_usage(cli, err);

    if (rc < 0)
        return rc;
    if (cli->options.dry_run)
        return dry_run(cli, err);
    if (cli->options.detach)
        return cli_detach(cli, move_now, err);
    return move_now(cli, err);
}
