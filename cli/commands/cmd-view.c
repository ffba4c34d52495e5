// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * snapshot create --mode cow: a process of its own holds the view, and this
 * command ends when it is there. snapshot save makes it, or a restore point,
 * last: a copy with its digest.
 */
#include "blockmig/plan/snapshot-plan.h"
#include "blockmig/image/image-in-use.h"
#include "cli/session/detach.h"
#include "cli/session/launch.h"
#include "cli/output/output.h"
#include "cli/session/view-lookup.h"
#include "cli/session/store-watchdog.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-store-ops.h"
#include "cli/commands/commands.h"
#include "blockmig/report/job-names.h"
#include "blockmig/report/job-report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIVE_MS 60000
#define LOOK_MS 50

/* --- the process that holds it ------------------------------------------ */

struct holding {
    struct cli_session session;
    struct cli_snapshot_context of;
    char *overlay_dir, *state_dir;
};

static void holding_end(struct holding *h)
{
    cli_snapshot_context_end(&h->of);
    cli_session_end(&h->session);
    free(h->overlay_dir);
    free(h->state_dir);
}
#define HOLDING __attribute__((cleanup(holding_end))) struct holding

static int plan(struct holding *h, const struct cli *cli, struct bm_error *err)
{
    const struct cli_options *o = &cli->options;
    const struct bm_snapshot_options options = {
        .name = cli->n_args > 1 ? cli->args[1] : NULL,
        .disks = o->disk,
        .description = o->description,
        .overlay_dir = h->overlay_dir,
        .state_dir = h->state_dir,
        .max_pause_ms = (int)o->max_pause,
    };

    return bm_snapshot_plan_view(h->session.conn, h->of.domain, &h->of.points,
                                 &options, &h->session.job, err);
}

static int look(void *opaque, const struct cli *cli, struct bm_error *err)
{
    struct holding *h = opaque;
    const char *state = cli->options.state;
    int rc = cli_overlay_dir(&cli->options, &h->overlay_dir, err);

    h->state_dir = state ? realpath(state, NULL) : bm_state_dir_default();
    if (!rc && !h->state_dir)
        h->state_dir = state ? strdup(state) : NULL;
    if (!rc && !h->state_dir)
        rc = bm_fail_errno(err, ENOMEM, "cannot find the state directory");
    if (!rc)
        rc = cli_snapshot_context_look(cli, h->session.conn, CLI_KIN_NONE,
                                       &h->of, err);
    return rc ? rc : plan(h, cli, err);
}

static int preflight(void *opaque, struct bm_preflight *out,
                     struct bm_error *err)
{
    struct holding *h = opaque;

    return bm_preflight_view(h->session.conn, h->of.domain, h->session.job, out,
                             err);
}

static const struct cli_task task = {look, preflight, bm_snapshot_plan_text};

static int dry_run(struct cli *cli, struct bm_error *err)
{
    HOLDING h = {.session = CLI_SESSION_INIT(&cli->options)};

    return cli_task_dry_run(cli, &h.session, &task, &h, err);
}

static int hold(struct cli *cli, struct bm_error *err)
{
    HOLDING h = {.session = CLI_SESSION_INIT(&cli->options)};

    return cli_task_run(cli, &h.session, &task, &h, err);
}

/* --- the one that asked for it ------------------------------------------ */

static void say_live(const struct cli *cli, const struct bm_job *view)
{
    json_object *o = cli->options.json ? bm_report_result(view) : NULL;

    for (size_t i = 0; !cli->options.json && i < view->n_disks; i++) {
        BM_FREE char *uri = bm_report_view_uri(view, view->disks[i].target);

        cli_print("%s: %s\n", view->disks[i].target, uri ? uri : "-");
    }
    if (cli->options.json)
        cli_result_json_line(o);
}

static int ended(const struct bm_job *job, struct bm_error *err)
{
    bm_fail(err, EIO, "there is no view of %s", job->domain);
    bm_cause(err, "%s",
             job->result.error ? job->result.error : "its job has ended");
    bm_status(err, job->result.exit_status
                       ? (enum bm_exit)job->result.exit_status
                       : BM_EXIT_FAILED);
    return -EIO;
}

/* Until it is there; id: of the newest job of the domain that is a view. */
static int wait_live(struct cli *cli, const char *id, struct bm_error *err)
{
    int64_t until = bm_now_ms() + LIVE_MS;
    struct bm_job_store *jobs = NULL;
    struct bm_job *job = NULL;
    bool live = false;
    int rc = cli_open_jobs(&cli->options, true, &jobs, err);

    while (!rc && !live && bm_now_ms() < until) {
        bm_job_free(BM_STEAL(job));
        rc = bm_job_store_load(jobs, id, &job, err);
        live = !rc && job->state == BM_STATE_SETTLED;
        if (!rc && !live &&
            (bm_state_final(job->state) || job->state == BM_STATE_HELD ||
             job->state == BM_STATE_NEEDS_RECOVERY))
            rc = ended(job, err);
        if (!rc && !live)
            bm_sleep_ms(LOOK_MS);
    }
    if (!rc && !live)
        rc = bm_fail_errno(err, ETIMEDOUT, "the view does not come to be");
    if (!rc)
        say_live(cli, job);
    bm_job_free(job);
    bm_job_store_close(jobs);
    return rc;
}

int cli_snapshot_view(struct cli *cli, struct bm_error *err)
{
    const struct cli_options *o = &cli->options;
    char id[BM_JOB_ID_LEN];
    int rc;

    if (o->memory || o->quiesce || o->manifest ||
        o->max_depth != BM_MAX_DEPTH) {
        bm_fail(err, EINVAL, "--memory, --quiesce, --manifest and --max-depth");
        bm_cause(err, "are of use with --mode row only");
        return bm_status(err, BM_EXIT_USAGE), -EINVAL;
    }
    if (o->dry_run)
        return dry_run(cli, err);
    rc = cli_detach_id(cli, hold, id, err);
    return rc <= 0 ? rc : wait_live(cli, id, err);
}

/* --- save ----------------------------------------------------------------- */

static int no_disk(const struct bm_domain *domain, const char *name,
                   struct bm_error *err)
{
    bm_fail(err, ENOENT, "%s of %s holds no such disk", name, domain->name);
    return bm_status(err, BM_EXIT_REFUSED), -ENOENT;
}

static int view_source(const struct cli_options *o, const struct bm_job *view,
                       const struct bm_domain *domain, char **out,
                       struct bm_error *err)
{
    size_t i = 0;

    if (!o->disk && view->n_disks > 1)
        return cli_which_disk(domain, "there are several in it", err);
    while (o->disk && i < view->n_disks &&
           strcmp(view->disks[i].target, o->disk) != 0)
        i++;
    if (i == view->n_disks)
        return no_disk(domain, view->snapshot->name, err);
    *out = bm_report_view_uri(view, view->disks[i].target);
    return *out ? 0 : bm_fail_errno(err, ENOMEM, "cannot save a view");
}

static int point_source(const struct cli_options *o,
                        const struct bm_restore_point *point,
                        const struct bm_domain *domain, char **out,
                        const char **format, struct bm_error *err)
{
    const struct bm_restore_point_disk *found = NULL;

    for (size_t k = 0; k < point->n_disks; k++) {
        const struct bm_restore_point_disk *disk = &point->disks[k];

        if (!disk->external || !disk->image.n ||
            (o->disk && strcmp(o->disk, disk->target) != 0))
            continue;
        if (found)
            return cli_which_disk(domain, "there are several in it", err);
        found = disk;
    }
    if (!found)
        return no_disk(domain, point->name, err);
    *out = strdup(found->image.layers[0].path);
    *format = found->image.layers[0].format;
    return *out ? 0 : bm_fail_errno(err, ENOMEM, "cannot save");
}

static int copy(struct cli *cli, char *source, const char *format,
                struct bm_error *err)
{
    char *args[] = {source, cli->args[2], NULL};
    struct cli copy = *cli;

    copy.args = args;
    copy.n_args = 2;
    copy.options.image_format = format;
    copy.options.verify = true;
    return cli_copy(&copy, err);
}

/* --force may replace a file, but none that a domain or an image needs. */
static int check_file(const struct cli_snapshot_context *of, const char *file,
                      struct bm_error *err)
{
    BM_FREE char *path = realpath(file, NULL);
    int rc = path ? bm_users_none(of->conn, NULL, path, err) : 0;

    return rc == -EBUSY ? (bm_status(err, BM_EXIT_REFUSED), rc) : rc;
}

int cli_snapshot_save(struct cli *cli, struct bm_error *err)
{
    const char *format = NULL, *name = cli->args[1];
    struct bm_job_store *jobs = NULL;
    const struct bm_restore_point *point;
    CLI_SNAPSHOT_CONTEXT context = {0};
    struct bm_job *view = NULL;
    BM_FREE char *source = NULL;
    int rc = cli_snapshot_context_read(cli, CLI_KIN_NONE, &context, err);

    if (!rc)
        rc = cli_open_jobs(&cli->options, true, &jobs, err);
    if (!rc)
        rc = cli_view_find(jobs, context.domain->uuid, name, &view, err);
    bm_job_store_close(jobs);
    if (!rc && view)
        rc = view_source(&cli->options, view, context.domain, &source, err);
    else if (!rc)
        rc = cli_snapshot_context_point(&context, name, &point, err);
    if (!rc && !view)
        rc = point_source(&cli->options, point, context.domain, &source,
                          &format, err);
    if (!rc)
        rc = check_file(&context, cli->args[2], err);
    (void)cli_watchdog_end();
    if (!rc)
        rc = copy(cli, source, format, err);
    bm_job_free(view);
    return rc;
}
