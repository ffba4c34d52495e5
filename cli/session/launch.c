// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/session/launch.h"

#include "blockmig/datastore/liveness.h"
#include "cli/output/checks.h"
#include "cli/session/detach.h"
#include "cli/output/output.h"
#include "cli/session/view-lookup.h"
#include "cli/session/store-watchdog.h"
#include "nbd/base/cleanup.h"
#include "blockmig/engine/launch.h"
#include "blockmig/report/json.h"

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
        bm_report_add_text(o, "event", "result");
        bm_report_add_number(o, "exit_status",
                             preflight->refused ? BM_EXIT_REFUSED
                                                : BM_EXIT_DONE);
        bm_report_add_bool(o, "dry_run", true);
        bm_report_add_bool(o, "refused", preflight->refused);
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

/* What bm_launch calls. */
struct launching {
    struct cli *cli;
    struct cli_session *session;
    const struct cli_task *task;
    void *opaque;
};

static int check(void *opaque, struct bm_preflight *list, struct bm_error *err)
{
    struct launching *l = opaque;
    int rc = bm_launch_check_chains(l->session->conn, l->session->job, err);

    return rc ? rc : l->task->preflight(l->opaque, list, err);
}

static void checked(void *opaque, const struct bm_preflight *list)
{
    struct launching *l = opaque;

    cli_checks_say(list, l->session->job->id, l->session->options->json);
}

static int ready(void *opaque, struct bm_error *err)
{
    struct launching *l = opaque;
    struct cli_session *s = l->session;
    int rc = cli_session_listen(s, err);

    if (rc == 0)
        rc = cli_detach_ready(l->cli, bm_job_store_dir(s->jobs), s->job->id,
                              err);
    if (rc == 0)
        (void)cli_watchdog_end();
    return rc;
}

static struct bm_launch launch_of(struct launching *l)
{
    return (struct bm_launch){.engine = cli_session_engine(l->session),
                              .opaque = l,
                              .check = check,
                              .checked = checked,
                              .ready = ready};
}

int cli_claim(struct cli_session *s, struct bm_error *err)
{
    const struct bm_launch launch = {.engine = cli_session_engine(s)};
    int rc;

    cli_session_catch_signals();
    rc = bm_launch_claim(&launch, &s->lock, err);
    if (rc == 0)
        cli_watchdog_claimed();
    return rc;
}

int cli_check(struct cli_session *s, const struct cli_task *task, void *opaque,
              struct bm_error *err)
{
    struct launching l = {NULL, s, task, opaque};
    const struct bm_launch launch = launch_of(&l);

    return bm_launch_check(&launch, err);
}

int cli_launch(struct cli *cli, struct cli_session *s,
               const struct cli_task *task, void *opaque, struct bm_error *err)
{
    struct launching l = {cli, s, task, opaque};
    struct bm_launch launch;
    bool ran;
    int rc = cli_keep_uri(s, err);

    if (rc == 0)
        rc = cli_open_jobs(s->options, false, &s->jobs, err);
    if (rc == 0)
        rc = cli_claim(s, err);
    if (rc == -EBUSY)
        cli_view_explain(s->jobs, s->job->uuid, err);
    if (rc < 0)
        return rc;
    launch = launch_of(&l);
    rc = bm_launch_run(&launch, &ran, err);
    return ran ? cli_session_report(s, rc, err) : rc;
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
