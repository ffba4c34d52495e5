// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/session/launch.h"

#include "blockmig/datastore/liveness.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/job/disk-location.h"
#include "cli/output/checks.h"
#include "cli/session/detach.h"
#include "cli/output/output.h"
#include "cli/session/view-lookup.h"
#include "cli/session/store-watchdog.h"
#include "nbd/base/cleanup.h"
#include "blockmig/run/hooks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int cli_keep_uri(struct cli_session *s, struct bm_error *err)
{
    const char *uri = s->options->connect;
    char *copy;

    if (!uri)
        uri = getenv("LIBVIRT_DEFAULT_URI");
    if (!uri || !uri[0])
        return 0;
    copy = strdup(uri);
    if (!copy)
        return bm_fail_errno(err, ENOMEM, "cannot plan");
    free(s->job->uri);
    s->job->uri = copy;
    return 0;
}

int cli_overlay_dir(const struct cli_options *options, char **out,
                    struct bm_error *err)
{
    const char *dir = options->overlay_dir;

    if (!dir)
        return 0;
    if (bm_store_is_alive_early(dir, err) != 0)
        return -err->code;
    *out = realpath(dir, NULL);
    if (*out)
        return 0;
    bm_fail_errno(err, errno, "cannot use overlay folder %s", dir);
    bm_remedy(err, "give a folder that exists with --overlay-dir");
    bm_status(err, BM_EXIT_REFUSED);
    return -err->code;
}

/* --- dry run ------------------------------------------------------------ */

static json_object *lines_json(char *text)
{
    json_object *array = json_object_new_array();
    char *save = NULL;

    for (char *line = strtok_r(text, "\n", &save); array && line;
         line = strtok_r(NULL, "\n", &save))
        json_object_array_add(array, json_object_new_string(line));
    return array;
}

static void print(const struct bm_preflight *preflight, char *plan, bool json)
{
    json_object *o;

    if (!json) {
        cli_checks_print(preflight);
        cli_print("\n%s%s", plan,
                  plan[0] && plan[strlen(plan) - 1] == '\n' ? "" : "\n");
        return;
    }
    o = json_object_new_object();
    if (o) {
        cli_add_text(o, "event", "result");
        cli_add_number(o, "exit_status",
                       preflight->refused ? BM_EXIT_REFUSED : BM_EXIT_DONE);
        cli_add_bool(o, "dry_run", true);
        cli_add_bool(o, "refused", preflight->refused);
        json_object_object_add(o, "checks", cli_checks_json(preflight));
        json_object_object_add(o, "plan", lines_json(plan));
    }
    cli_result_json_line(o);
}

int cli_print_dry(const struct cli *cli, const struct bm_preflight *preflight,
                  char *plan, struct bm_error *err)
{
    BM_FREE char *owned = plan;

    if (!owned)
        return bm_fail_errno(err, ENOMEM, "cannot print the plan");
    print(preflight, owned, cli->options.json);
    return preflight->refused ? bm_preflight_error(preflight, err)
                              : BM_EXIT_DONE;
}

int cli_task_print(const struct cli *cli, const struct cli_session *s,
                   const struct cli_task *task, void *opaque,
                   struct bm_error *err)
{
    struct bm_preflight list = {0};
    int rc = task->preflight(opaque, &list, err);

    if (rc == 0)
        rc = cli_print_dry(cli, &list, task->text(s->job), err);
    bm_preflight_clear(&list);
    return rc;
}

/* No guard: nothing is paused; no job store: none may be made. */
int cli_task_dry_run(struct cli *cli, struct cli_session *s,
                     const struct cli_task *task, void *opaque,
                     struct bm_error *err)
{
    int rc = cli_watchdog_connect(cli, &s->conn, err);

    if (rc == 0)
        rc = task->look(opaque, cli, err);
    return rc ? rc : cli_task_print(cli, s, task, opaque, err);
}

/* --- the job ------------------------------------------------------------ */

static int claim(struct cli_session *s, struct bm_error *err)
{
    int rc = cli_keep_uri(s, err);

    if (rc == 0)
        rc = cli_open_jobs(s->options, false, &s->jobs, err);

    /* the lock before the job can be seen: nobody shall take it for dead */
    if (rc == 0)
        rc = cli_session_lock(s, NULL, err);
    if (rc == 0)
        rc = bm_job_store_claim(s->jobs, s->job, err);
    if (rc == 0)
        cli_watchdog_claimed();
    if (rc == -EBUSY)
        cli_view_blame(s->jobs, s->job->uuid, err);
    return rc;
}

/* Another command of ours may have had the domain between the plan and the
 * claim. What cannot be looked at here the preflight tells better. */
static int check_plan(struct cli_session *s, struct bm_error *err)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_domain *domain = NULL;
    int rc = bm_domain_open(s->conn, s->job->uuid, &domain, err);

    for (size_t i = 0; !rc && i < s->job->n_disks; i++) {
        const struct bm_job_disk *disk = &s->job->disks[i];

        if (bm_disk_location(domain, bm_domain_disk(domain, disk->target), disk,
                             &ignored) != BM_AT_FOREIGN)
            continue;
        bm_fail(err, ESTALE, "cannot %s %s", bm_job_noun(s->job),
                s->job->domain);
        bm_cause(err, "the chain of disk %s has changed since this was planned",
                 disk->target);
        bm_remedy(err, "try again");
        rc = -ESTALE;
        bm_status(err, BM_EXIT_REFUSED);
    }
    bm_domain_free(domain);
    return rc;
}

int cli_check(struct cli_session *s, const struct cli_task *task, void *opaque,
              struct bm_error *err)
{
    struct bm_preflight list = {0};
    int rc;

    bm_job_set_state(s->job, BM_STATE_PREFLIGHT);
    rc = bm_job_store_save(s->jobs, s->job, NULL, err);
    if (rc == 0)
        rc = check_plan(s, err);
    if (rc == 0)
        rc = task->preflight(opaque, &list, err);
    if (rc == 0) {
        cli_checks_say(&list, s->job->id, s->options->json);
        rc = bm_preflight_error(&list, err);
    }
    bm_preflight_clear(&list);
    if (rc < 0 || !cli_interrupted())
        return rc;
    bm_fail(err, ECANCELED, "cannot %s %s", bm_job_noun(s->job),
            s->job->domain);
    bm_cause(err, "cancelled before anything was touched");
    return -ECANCELED;
}

/* Until bm_engine_run nothing was touched: the job leaves no trace. */
static int check_or_forget(struct cli *cli, struct cli_session *s,
                           const struct cli_task *task, void *opaque,
                           struct bm_run_hooks *hooks, struct bm_error *err)
{
    int rc = cli_check(s, task, opaque, err);

    if (rc == 0)
        rc = cli_session_listen(s, hooks, err);
    if (rc == 0)
        rc = cli_detach_ready(cli, bm_job_store_dir(s->jobs), s->job->id, err);
    if (rc < 0)
        (void)bm_job_store_forget(s->jobs, s->job->id, NULL);
    return rc;
}

int cli_launch(struct cli *cli, struct cli_session *s,
               const struct cli_task *task, void *opaque, struct bm_error *err)
{
    struct bm_run_hooks hooks;
    int rc;

    bm_failpoint("planned");
    rc = claim(s, err);

    if (rc == 0)
        rc = check_or_forget(cli, s, task, opaque, &hooks, err);
    if (rc < 0)
        return rc;
    (void)cli_watchdog_end();
    rc = bm_engine_run(s->conn, s->jobs, s->job, s->guard, &hooks, err);
    return cli_session_report(s, rc, err);
}

int cli_task_run(struct cli *cli, struct cli_session *s,
                 const struct cli_task *task, void *opaque,
                 struct bm_error *err)
{
    int rc = cli_session_connect(s, cli, err);

    if (rc == 0)
        rc = task->look(opaque, cli, err);
    return rc < 0 ? rc : cli_launch(cli, s, task, opaque, err);
}
