// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The snapshot commands that merge layers: delete, commit, consolidate. */
#include "blockmig/merge-plan.h"
#include "cli/detach.h"
#include "cli/launch.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/view.h"

#include <errno.h>
#include <string.h>

struct merge {
    struct cli_session session; /* job, connection, ... */
    struct bm_domain *domain;
    struct bm_points points;
    struct bm_kin kin;
    struct bm_preflight preflight;
};

static void merge_end(struct merge *m)
{
    bm_preflight_clear(&m->preflight);
    bm_kin_clear(&m->kin);
    bm_points_clear(&m->points);
    bm_domain_free(m->domain);
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

/* The one disk that there is, if none is named. */
static const char *only_disk(const struct bm_domain *domain)
{
    const char *found = NULL;

    for (size_t d = 0; d < domain->n_disks; d++) {
        const struct bm_disk *disk = &domain->disks[d];

        if (strcmp(disk->device, "disk") != 0 || disk->readonly)
            continue;
        if (found)
            return NULL;
        found = disk->target;
    }
    return found;
}

static int which_disk(const struct bm_domain *domain, struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot choose a disk of %s", domain->name);
    bm_cause(err, "it has several, or none that is written to");
    bm_remedy(err, "name one with --disk");
    return bm_status(err, BM_EXIT_USAGE), -EINVAL;
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

    if (!strcmp(options.verb, "commit") && !options.disk &&
        !(options.disk = only_disk(m->domain)))
        return which_disk(m->domain, err);
    return bm_merge_plan(m->session.conn, m->domain, &m->points, &m->kin,
                         &options, &m->session.job, err);
}

static int look(struct merge *m, const struct cli *cli, struct bm_error *err)
{
    int rc = bm_domain_open(m->session.conn, cli->args[0], &m->domain, err);

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
    struct merge *m = opaque;

    return bm_preflight_merge(m->session.conn, m->domain, m->session.job, out,
                              err);
}

/* --- the command -------------------------------------------------------- */

/* No guard: nothing is paused; no job store: none may be made. */
static int dry_run(struct cli *cli, struct bm_error *err)
{
    MERGE m = {.session = CLI_SESSION_INIT(&cli->options)};
    int rc = bm_connection_open(cli->options.connect, &m.session.conn, err);

    if (rc == 0)
        rc = look(&m, cli, err);
    if (rc == 0)
        rc = preflight(&m, &m.preflight, err);
    return rc < 0 ? rc
                  : cli_dry_run(cli, &m.preflight,
                                bm_merge_plan_text(m.session.job), err);
}

static bool nothing_to_do(const struct bm_job *job)
{
    return job->snapshot->n_merges == 0 && job->snapshot->n_points == 0;
}

static int say_nothing_to_do(struct merge *m, const struct cli *cli)
{
    json_object *o = cli->options.json ? cli_event_json("result", NULL) : NULL;

    cli_say("nothing is to be done: no layer of %s can go\n", m->domain->name);
    if (!cli->options.json)
        return BM_EXIT_DONE;
    if (o) {
        cli_add_number(o, "exit_status", BM_EXIT_DONE);
        cli_add_text(o, "domain", m->domain->name);
        cli_add_bool(o, "nothing_to_do", true);
    }
    cli_result_json_line(o);
    return BM_EXIT_DONE;
}

static int merge_now(struct cli *cli, struct bm_error *err)
{
    MERGE m = {.session = CLI_SESSION_INIT(&cli->options)};
    int rc = cli_session_connect(&m.session, cli->options.connect, err);

    if (rc == 0)
        rc = look(&m, cli, err);
    if (rc < 0)
        return rc;
    if (nothing_to_do(m.session.job))
        return say_nothing_to_do(&m, cli);
    return cli_launch(cli, &m.session, preflight, &m, err);
}

/* 1: that was the name of a view, and it has ended. */
static int end_view(struct cli *cli, struct bm_error *err)
{
    struct bm_job_store *jobs = NULL;
    struct bm_job *view = NULL;
    CLI_PEDIGREE pedigree = {0};
    int rc = cli_open_jobs(&cli->options, true, &jobs, err);

    if (!rc)
        rc = cli_pedigree_read(cli, CLI_KIN_NONE, &pedigree, err);
    if (!rc)
        rc = cli_view_find(jobs, pedigree.domain->uuid, cli->args[1], &view,
                           err);
    if (!rc && view)
        rc = cli_view_end(jobs, view, err);
    if (!rc && view)
        cli_say("the view %s of %s has ended\n", cli->args[1],
                pedigree.domain->name);
    if (!rc && view && cli->options.json)
        cli_result_json_line(cli_result_json(view));
    rc = rc ? rc : view != NULL;
    bm_job_free(view);
    bm_job_store_close(jobs);
    return rc;
}

int cli_snapshot_merge(struct cli *cli, struct bm_error *err)
{
    int rc = cli->n_args > 1 ? end_view(cli, err) : 0;

    if (rc)
        return rc < 0 ? rc : BM_EXIT_DONE;
    if (cli->options.dry_run)
        return dry_run(cli, err);
    if (cli->options.detach)
        return cli_detach(cli, merge_now, err);
    return merge_now(cli, err);
}
