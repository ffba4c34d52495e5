// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* snapshot list and show: the restore points of a domain. */
#include "cli/session/snapshot-context.h"
#include "cli/session/session.h"
#include "cli/output/table.h"
#include "cli/session/view-lookup.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-store-ops.h"
#include "cli/output/write.h"
#include "cli/commands/commands.h"
#include "blockmig/report/job-names.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "vda,vdb"; NULL: out of memory. */
static char *disk_names(const struct bm_restore_point *point)
{
    size_t size = 1;
    char *names;

    for (size_t i = 0; i < point->n_disks; i++)
        size += strlen(point->disks[i].target) + 1;
    names = calloc(1, size);
    for (size_t i = 0; names && i < point->n_disks; i++) {
        if (!point->disks[i].external && !point->disks[i].internal)
            continue;
        strcat(names, names[0] ? "," : "");
        strcat(names, point->disks[i].target);
    }
    return names;
}

static json_object *disk_json(const struct bm_restore_point_disk *disk)
{
    json_object *o = json_object_new_object();

    if (!o)
        return NULL;
    bm_report_add_text(o, "target", disk->target);
    bm_report_add_text(o, "snapshot",
                       disk->external   ? "external"
                       : disk->internal ? "internal"
                                        : "no");
    bm_report_add_text(o, "image",
                       disk->image.n ? disk->image.layers[0].path : NULL);
    bm_report_add_text(o, "overlay", disk->overlay);
    return o;
}

static json_object *point_json(const struct bm_restore_point *point)
{
    json_object *o = json_object_new_object();
    json_object *disks = json_object_new_array();
    char created[40];

    if (!o || !disks) {
        json_object_put(o);
        json_object_put(disks);
        return NULL;
    }
    bm_report_add_text(o, "name", point->name);
    bm_report_add_text(o, "parent", point->parent);
    bm_report_add_text(
        o, "created",
        bm_report_time(point->created_s * 1000, created, sizeof created));
    bm_report_add_text(o, "kind", cli_point_kind(point));
    bm_report_add_text(o, "state", point->state);
    bm_report_add_bool(o, "current", point->current);
    bm_report_add_text(o, "description", point->description);
    bm_report_add_text(o, "memory", point->memory);
    for (size_t i = 0; i < point->n_disks; i++)
        json_object_array_add(disks, disk_json(&point->disks[i]));
    json_object_object_add(o, "disks", disks);
    return o;
}

static int add_row(struct cli_table *table,
                   const struct bm_restore_point *point)
{
    BM_FREE char *disks = disk_names(point);
    char created[40];
    const char *cells[] = {
        point->name,
        bm_report_time(point->created_s * 1000, created, sizeof created),
        cli_point_kind(point),
        disks,
        point->parent ? point->parent : "-",
        point->current ? "yes" : "",
        point->description ? point->description : ""};

    return disks ? cli_table_row(table, cells) : -ENOMEM;
}

/* --- the view that lives ------------------------------------------------ */

/* Of a domain; lost: its process has died. */
struct view {
    struct bm_job *job; /* NULL: there is none */
    const char *kind;
};

static json_object *view_json(const struct view *it)
{
    const struct bm_job *view = it->job;
    json_object *o = json_object_new_object();
    json_object *disks = json_object_new_array();
    char created[40];

    bm_report_add_text(o, "name", view->snapshot->name);
    bm_report_add_text(o, "parent", NULL);
    bm_report_add_text(
        o, "created",
        bm_report_time(view->created_ms, created, sizeof created));
    bm_report_add_text(o, "kind", it->kind);
    bm_report_add_text(o, "state", bm_state_name(view->state));
    bm_report_add_bool(o, "current", false);
    bm_report_add_text(o, "description", view->snapshot->description);
    bm_report_add_text(o, "job", view->id);
    for (size_t i = 0; i < view->n_disks; i++) {
        BM_FREE char *uri = bm_report_view_uri(view, view->disks[i].target);
        json_object *disk = json_object_new_object();

        bm_report_add_text(disk, "target", view->disks[i].target);
        bm_report_add_text(disk, "snapshot", "view");
        bm_report_add_text(disk, "uri", uri);
        json_object_array_add(disks, disk);
    }
    json_object_object_add(o, "disks", disks);
    return o;
}

static int add_view(struct cli_table *table, const struct view *it)
{
    const struct bm_job *view = it->job;
    BM_FREE char *uri = bm_report_view_uri(view, view->disks[0].target);
    char created[40];
    const char *cells[] = {
        view->snapshot->name,
        bm_report_time(view->created_ms, created, sizeof created),
        it->kind,
        view->disks[0].target,
        "-",
        "",
        uri};

    return uri ? cli_table_row(table, cells) : -ENOMEM;
}

/* name may be NULL: whatever it is called. */
static int find_view(const struct cli *cli, const struct bm_domain *domain,
                     const char *name, struct view *out, struct bm_error *err)
{
    struct bm_job_store *jobs = NULL;
    int rc = cli_open_jobs(&cli->options, true, &jobs, err);

    if (!rc)
        rc = cli_view_find(jobs, domain->uuid, name, &out->job, err);
    if (!rc && out->job)
        out->kind = bm_job_running(jobs, out->job->id) ? "live" : "lost";
    bm_job_store_close(jobs);
    return rc;
}

static int print_table(const struct bm_restore_points *points,
                       const struct view *view, struct bm_error *err)
{
    static const char *const head[] = {
        "NAME", "CREATED", "KIND", "DISKS", "PARENT", "CURRENT", "DESCRIPTION"};
    CLI_TABLE table = {.columns = sizeof head / sizeof *head};
    int rc = cli_table_row(&table, head);

    for (size_t i = 0; !rc && i < points->n; i++)
        rc = add_row(&table, &points->list[i]);
    if (!rc && view->job)
        rc = add_view(&table, view);
    if (rc)
        return bm_fail_errno(err, -rc, "cannot list the snapshots");
    cli_table_print(&table);
    return 0;
}

static int print_list(const struct cli *cli,
                      const struct bm_restore_points *points,
                      const struct view *view, struct bm_error *err)
{
    json_object *array;

    if (!cli->options.json)
        return print_table(points, view, err);
    array = json_object_new_array();
    for (size_t i = 0; array && i < points->n; i++)
        json_object_array_add(array, point_json(&points->list[i]));
    if (view->job)
        json_object_array_add(array, view_json(view));
    cli_json(array);
    return 0;
}

int cli_snapshot_list(struct cli *cli, struct bm_error *err)
{
    CLI_SNAPSHOT_CONTEXT context = {0};
    struct view view = {0};
    int rc = cli_snapshot_context_read(cli, CLI_KIN_NONE, &context, err);

    if (!rc)
        rc = find_view(cli, context.domain, NULL, &view, err);
    if (!rc)
        rc = print_list(cli, &context.points, &view, err);
    bm_job_free(view.job);
    return rc;
}

static void line(const char *name, const char *value)
{
    if (value && value[0])
        cli_print("%-12s %s\n", name, value);
}

static void print_point(const struct bm_restore_point *point)
{
    char created[40];

    line("name", point->name);
    line("parent", point->parent);
    line("created",
         bm_report_time(point->created_s * 1000, created, sizeof created));
    line("kind", cli_point_kind(point));
    line("state", point->state);
    line("current", point->current ? "yes" : "no");
    line("description", point->description);
    line("memory", point->memory);
    for (size_t i = 0; i < point->n_disks; i++) {
        const struct bm_restore_point_disk *disk = &point->disks[i];

        if (disk->external && disk->image.n)
            cli_print("%-12s %s, under %s\n", disk->target,
                      disk->image.layers[0].path,
                      disk->overlay ? disk->overlay : "-");
        else
            cli_print("%-12s %s\n", disk->target,
                      disk->internal ? "internal" : "not in it");
    }
}

static void print_view(const struct view *it)
{
    const struct bm_job *view = it->job;
    char created[40];

    line("name", view->snapshot->name);
    line("created", bm_report_time(view->created_ms, created, sizeof created));
    line("kind", it->kind);
    line("state", bm_state_name(view->state));
    line("description", view->snapshot->description);
    line("job", view->id);
    for (size_t i = 0; i < view->n_disks; i++) {
        BM_FREE char *uri = bm_report_view_uri(view, view->disks[i].target);

        line(view->disks[i].target, uri);
    }
}

static void show_point(const struct cli *cli,
                       const struct bm_restore_point *point)
{
    if (cli->options.json)
        cli_json(point_json(point));
    else
        print_point(point);
}

static void show_view(const struct cli *cli, const struct view *view)
{
    if (cli->options.json)
        cli_json(view_json(view));
    else
        print_view(view);
}

int cli_snapshot_show(struct cli *cli, struct bm_error *err)
{
    CLI_SNAPSHOT_CONTEXT context = {0};
    const char *name = cli->args[1];
    const struct bm_restore_point *point;
    struct view view = {0};
    int rc = cli_snapshot_context_read(cli, CLI_KIN_NONE, &context, err);

    if (rc)
        return rc;
    point = bm_restore_points_find(&context.points, name);
    if (!point)
        rc = find_view(cli, context.domain, name, &view, err);
    if (!rc && view.job)
        show_view(cli, &view);
    else if (!rc)
        rc = cli_snapshot_context_point(&context, name, &point, err);
    if (!rc && point)
        show_point(cli, point);
    bm_job_free(view.job);
    return rc;
}
