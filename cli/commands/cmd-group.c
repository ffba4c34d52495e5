// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* snapshot create-group: restore points of several domains at one instant. */
#include "blockmig/engine/group.h"
#include "blockmig/plan/snapshot-plan.h"
#include "cli/session/launch.h"
#include "cli/session/store-watchdog.h"
#include "nbd/base/cleanup.h"
#include "cli/output/write.h"
#include "cli/commands/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One domain of it. The connection and the store are those of the first. */
struct member_context {
    struct cli_session session;
    struct bm_domain *domain;
    bool claimed;
};

struct group {
    struct cli *cli;
    struct member_context *all;
    size_t n;
    char *overlay_dir;
};

static void group_end(struct group *g)
{
    for (size_t i = g->n; i-- > 0;) {
        struct member_context *it = &g->all[i];

        bm_domain_free(it->domain);
        if (i > 0) { /* they are the first one's */
            it->session.conn = NULL;
            if (it->session.lock >= 0)
                bm_job_run_unlock(it->session.jobs, it->session.job->id,
                                  it->session.lock);
            it->session.lock = -1;
            it->session.jobs = NULL;
        }
        cli_session_end(&it->session);
    }
    free(g->all);
    free(g->overlay_dir);
}
#define GROUP __attribute__((cleanup(group_end))) struct group

static int begin(struct group *g, struct cli *cli, struct bm_error *err)
{
    int rc = 0;

    g->cli = cli;
    g->n = (size_t)cli->n_args - 1;
    g->all = calloc(g->n, sizeof *g->all);
    if (!g->all)
        return g->n = 0, bm_fail_errno(err, ENOMEM, "cannot make a group");
    for (size_t i = 0; i < g->n; i++)
        g->all[i].session = (struct cli_session)CLI_SESSION_INIT(&cli->options);
    /* every guard before there is a connection, and its threads */
    for (size_t i = 0; !rc && !cli->options.dry_run && i < g->n; i++)
        rc =
            bm_guard_start(cli->options.connect, &g->all[i].session.guard, err);
    if (!rc)
        rc = cli_watchdog_connect(cli, &g->all[0].session.conn, err);
    for (size_t i = 1; !rc && i < g->n; i++)
        g->all[i].session.conn = g->all[0].session.conn;
    return rc ? rc : cli_overlay_dir(&cli->options, &g->overlay_dir, err);
}

/* --- each domain -------------------------------------------------------- */

static int twice(const struct group *g, size_t i, struct bm_error *err)
{
    for (size_t k = 0; k < i; k++)
        if (!strcmp(g->all[k].domain->uuid, g->all[i].domain->uuid)) {
            bm_fail(err, EINVAL, "domain %s is named twice",
                    g->all[i].domain->name);
            return bm_status(err, BM_EXIT_USAGE), -EINVAL;
        }
    return 0;
}

static int plan(struct group *g, size_t i, struct bm_error *err)
{
    const struct cli_options *o = &g->cli->options;
    const struct bm_snapshot_options options = {
        .name = g->cli->args[0],
        .description = o->description,
        .overlay_dir = g->overlay_dir,
        .max_depth = o->max_depth,
        .max_pause_ms = (int)o->max_pause * (int)g->n,
    };
    struct member_context *it = &g->all[i];
    BM_RESTORE_POINTS points = {0};
    BM_IMAGE_TREE tree = {0};
    int rc =
        bm_domain_open(it->session.conn, g->cli->args[i + 1], &it->domain, err);

    if (!rc)
        rc = twice(g, i, err);
    if (!rc)
        rc = bm_restore_points_read(it->domain, &points, err);
    if (!rc)
        rc = bm_tree_find(it->session.conn, it->domain, &points, false, &tree,
                          err);
    if (!rc)
        rc = bm_snapshot_plan_create(it->session.conn, it->domain, &points,
                                     &tree, &options, &it->session.job, err);
    if (rc)
        return rc;
    it->session.job->snapshot->group = true;
    return cli_keep_uri(&it->session, err);
}

static int claim(struct group *g, size_t i, struct bm_error *err)
{
    struct cli_session *s = &g->all[i].session;
    int rc = i ? (s->jobs = g->all[0].session.jobs, 0)
               : cli_open_jobs(s->options, false, &s->jobs, err);

    if (!rc)
        rc = cli_claim(s, err);
    g->all[i].claimed = !rc;
    return rc;
}

static int preflight(void *opaque, struct bm_preflight *out,
                     struct bm_error *err)
{
    struct member_context *it = opaque;

    return bm_preflight_snapshot(it->session.conn, it->domain, it->session.job,
                                 it->session.options->max_depth, out, err);
}

static const struct cli_task task = {NULL, preflight, bm_snapshot_plan_text};

static int check(struct member_context *it, struct bm_error *err)
{
    int rc = cli_check(&it->session, &task, it, err);

    return rc ? rc : cli_session_listen(&it->session, err);
}

/* All of them, or none: nothing was touched yet. */
static int get_ready(struct group *g, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < g->n; i++)
        rc = plan(g, i, err);
    for (size_t i = 0; !rc && i < g->n; i++)
        rc = claim(g, i, err);
    for (size_t i = 0; !rc && i < g->n; i++)
        rc = check(&g->all[i], err);
    for (size_t i = 0; rc && i < g->n; i++)
        if (g->all[i].claimed)
            (void)bm_job_store_forget(g->all[i].session.jobs,
                                      g->all[i].session.job->id, NULL);
    return rc;
}

/* --- all ---------------------------------------------------------------- */

static int run(struct group *g, struct bm_error *err)
{
    BM_FREE struct bm_group_member *members = calloc(g->n, sizeof *members);
    double longest = 0;
    int rc;

    if (!members)
        return bm_fail_errno(err, ENOMEM, "cannot make a group");
    for (size_t i = 0; i < g->n; i++)
        members[i] = (struct bm_group_member){.job = g->all[i].session.job,
                                              .guard = g->all[i].session.guard,
                                              .hooks = &g->all[i].session.hooks,
                                              .err = BM_ERROR_INIT};
    (void)cli_watchdog_end();
    rc = bm_group_run(g->all[0].session.conn, g->all[0].session.jobs, members,
                      g->n, err);
    for (size_t i = 0; i < g->n; i++) {
        const struct bm_job *job = members[i].job;

        (void)cli_session_report(&g->all[i].session, members[i].rc,
                                 &members[i].err);
        if (job->result.pause_ms_longest > longest)
            longest = job->result.pause_ms_longest;
    }
    if (!rc)
        cli_say("%zu domains at one instant; the longest pause was %.0f ms\n",
                g->n, longest);
    return rc;
}

/* As far as the first that is refused: then none would be made. */
static int dry_run(struct group *g, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < g->n; i++)
        rc = plan(g, i, err);
    for (size_t i = 0; !rc && i < g->n; i++)
        rc = cli_task_print(g->cli, &g->all[i].session, &task, &g->all[i], err);
    return rc;
}

int cli_snapshot_group(struct cli *cli, struct bm_error *err)
{
    GROUP g = {0};
    int rc = begin(&g, cli, err);

    if (!rc && cli->options.dry_run)
        return dry_run(&g, err);
    if (!rc)
        rc = get_ready(&g, err);
    return rc ? rc : run(&g, err);
}
