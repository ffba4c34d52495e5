// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The commands that look at jobs, or tidy them up. */
#include "blockmig/job/job-store.h"
#include "cli/commands/commands.h"
#include "cli/output/report.h"
#include "cli/session/session.h"
#include "cli/output/table.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-store-ops.h"
#include "cli/output/write.h"
#include "blockmig/report/job-names.h"
#include "blockmig/report/job-report.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- list --------------------------------------------------------------- */

struct list_context {
    const struct cli_options *options;
    const struct bm_job_store *jobs;
    struct cli_table table;
    json_object *array;
};

static bool wanted(const struct cli_options *o, const struct bm_job *job)
{
    if (o->kept)
        return bm_report_keeps(job);
    return o->all || !bm_state_final(job->state);
}

/* "vda,vdb" */
static char *disk_names(const struct bm_job *job)
{
    size_t size = 1;
    char *names;

    for (size_t i = 0; i < job->n_disks; i++)
        size += strlen(job->disks[i].target) + 1;
    names = calloc(1, size);
    for (size_t i = 0; names && i < job->n_disks; i++) {
        strcat(names, i ? "," : "");
        strcat(names, job->disks[i].target);
    }
    return names;
}

static int list_row(struct list_context *list, const struct bm_job *job,
                    bool running)
{
    BM_FREE char *disks = disk_names(job);
    char created[40], what[160];
    const char *cells[] = {
        job->id,
        bm_state_name(job->state),
        cli_running(job, running),
        cli_job_what(job, what, sizeof what),
        job->domain,
        disks,
        job->store,
        bm_report_time(job->created_ms, created, sizeof created)};

    return disks ? cli_table_row(&list->table, cells) : -ENOMEM;
}

static int list_one(void *opaque, const struct bm_job *job)
{
    struct list_context *list = opaque;
    bool running;

    if (!wanted(list->options, job))
        return 0;
    running = bm_job_running(list->jobs, job->id);
    if (!list->options->json)
        return list_row(list, job, running);
    json_object_array_add(list->array, bm_report_job(job, running));
    return 0;
}

static int print_list(struct bm_job_store *jobs,
                      const struct cli_options *options, struct bm_error *err)
{
    static const char *const head[] = {"JOB",    "STATE", "RUNNING", "WHAT",
                                       "DOMAIN", "DISKS", "STORE",   "CREATED"};
    struct list_context list = {.options = options, .jobs = jobs};
    int rc;

    list.table.columns = sizeof head / sizeof *head;
    list.array = json_object_new_array();
    rc = list.array ? cli_table_row(&list.table, head) : -ENOMEM;
    if (rc == 0)
        rc = bm_job_store_list(jobs, list_one, &list, err);
    if (rc == -ENOMEM)
        bm_fail_errno(err, ENOMEM, "cannot list the jobs");
    if (rc == 0 && options->json)
        cli_json(json_object_get(list.array));
    else if (rc == 0)
        cli_table_print(&list.table);
    json_object_put(list.array);
    cli_table_clear(&list.table);
    return rc;
}

int cli_job_list(struct cli *cli, struct bm_error *err)
{
    struct bm_job_store *jobs = NULL;
    int rc = cli_open_jobs(&cli->options, true, &jobs, err);

    if (rc == 0)
        rc = print_list(jobs, &cli->options, err);
    bm_job_store_close(jobs);
    return rc;
}

/* --- show, events ------------------------------------------------------- */

int cli_job_show(struct cli *cli, struct bm_error *err)
{
    struct bm_job_store *jobs = NULL;
    struct bm_job *job = NULL;
    int rc = cli_open_jobs(&cli->options, true, &jobs, err);

    if (rc == 0)
        rc = bm_job_store_load(jobs, cli->args[0], &job, err);
    if (rc == 0 && cli->options.json)
        cli_json(bm_report_job(job, bm_job_running(jobs, job->id)));
    else if (rc == 0)
        cli_job_text(job, bm_job_running(jobs, job->id));
    bm_job_free(job);
    bm_job_store_close(jobs);
    return rc;
}

static int print_event(void *opaque, int64_t time_ms, const char *state,
                       const char *text)
{
    char time[40];

    cli_print("%s  %-15s %s\n", bm_report_time(time_ms, time, sizeof time),
              state, text);
    return 0;
}

static int add_event(void *opaque, int64_t time_ms, const char *state,
                     const char *text)
{
    json_object *o = json_object_new_object();
    char time[40];

    if (!o)
        return -ENOMEM;
    bm_report_add_text(o, "time", bm_report_time(time_ms, time, sizeof time));
    bm_report_add_text(o, "phase", state);
    bm_report_add_text(o, "text", text);
    return json_object_array_add(opaque, o) == 0 ? 0 : -ENOMEM;
}

int cli_job_events(struct cli *cli, struct bm_error *err)
{
    bool json = cli->options.json;
    json_object *array = json ? json_object_new_array() : NULL;
    struct bm_job_store *jobs = NULL;
    int rc = cli_open_jobs(&cli->options, true, &jobs, err);

    if (rc == 0)
        rc = bm_job_store_events(jobs, cli->args[0],
                                 json ? add_event : print_event, array, err);
    bm_job_store_close(jobs);
    if (rc == 0 && json)
        cli_json(array);
    else
        json_object_put(array);
    return rc;
}

/* --- prune -------------------------------------------------------------- */

struct ids {
    char (*ids)[BM_JOB_ID_LEN];
    size_t n;
};

static int collect(void *opaque, const struct bm_job *job)
{
    struct ids *ids = opaque;
    void *grown;

    if (!bm_state_final(job->state) || bm_report_keeps(job))
        return 0;
    grown = reallocarray(ids->ids, ids->n + 1, sizeof *ids->ids);
    if (!grown)
        return -ENOMEM;
    ids->ids = grown;
    memcpy(ids->ids[ids->n++], job->id, BM_JOB_ID_LEN);
    return 0;
}

/* Under its lock: a job that is finished may still be writing its report. */
static int prune_one(struct bm_job_store *jobs, const char *id,
                     struct bm_error *err)
{
    BM_FREE char *log = NULL;
    int lock = bm_job_run_lock(jobs, id, err);
    int rc;

    if (lock == -EBUSY)
        return 0;
    if (lock < 0)
        return lock;
    rc = bm_job_store_forget(jobs, id, err);
    if (rc == 0 && asprintf(&log, "%s/%s.log", bm_job_store_dir(jobs), id) > 0)
        (void)unlink(log);
    bm_job_run_unlock(jobs, id, lock);
    return rc < 0 ? rc : 1;
}

static int prune(struct bm_job_store *jobs, struct bm_error *err)
{
    struct ids ids = {NULL, 0};
    int pruned = 0;
    int rc = bm_job_store_list(jobs, collect, &ids, err);

    if (rc == -ENOMEM)
        bm_fail_errno(err, ENOMEM, "cannot list the jobs");
    for (size_t i = 0; i < ids.n && rc >= 0; i++) {
        rc = prune_one(jobs, ids.ids[i], err);
        if (rc > 0)
            pruned++;
    }
    free(ids.ids);
    return rc < 0 ? rc : pruned;
}

/* A store that is not there is not made for it. */
static bool no_store(const struct cli_options *options)
{
    BM_FREE char *dir =
        options->state ? strdup(options->state) : bm_state_dir_default();

    return dir && access(dir, F_OK) < 0 && errno == ENOENT;
}

int cli_job_prune(struct cli *cli, struct bm_error *err)
{
    struct bm_job_store *jobs = NULL;
    int rc = 0;

    if (!no_store(&cli->options)) {
        rc = cli_open_jobs(&cli->options, false, &jobs, err);
        if (rc == 0)
            rc = prune(jobs, err);
        bm_job_store_close(jobs);
    }
    if (rc < 0)
        return rc;
    if (cli->options.json) {
        json_object *o = json_object_new_object();

        if (o)
            bm_report_add_number(o, "pruned", rc);
        cli_json(o);
    }
    cli_say("%d finished job%s forgotten\n", rc, rc == 1 ? "" : "s");
    return 0;
}
