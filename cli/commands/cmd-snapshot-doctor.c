// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* snapshot doctor: what is wrong with the chains of a domain. */
#include "blockmig/doctor/doctor.h"
#include "cli/output/checks.h"
#include "cli/session/snapshot-context.h"
#include "cli/session/session.h"
#include "cli/output/write.h"
#include "cli/commands/commands.h"
#include "blockmig/report/json.h"

#include <errno.h>

static void print(const struct cli *cli, const struct bm_doctor *doctor)
{
    json_object *o;

    if (!cli->options.json) {
        cli_checks_print(doctor->list);
        if (doctor->found)
            cli_say("%s: %zu found, %zu mended\n", doctor->domain->name,
                    doctor->found, doctor->fixed);
        else
            cli_say("%s: nothing was found\n", doctor->domain->name);
        return;
    }
    o = json_object_new_object();
    if (o) {
        bm_report_add_text(o, "domain", doctor->domain->name);
        bm_report_add_number(o, "found", (int64_t)doctor->found);
        bm_report_add_number(o, "fixed", (int64_t)doctor->fixed);
        json_object_object_add(o, "findings", cli_checks_json(doctor->list));
    }
    cli_json(o);
}

int cli_snapshot_doctor(struct cli *cli, struct bm_error *err)
{
    struct bm_preflight list = {0};
    CLI_SNAPSHOT_CONTEXT context = {0};
    struct bm_doctor doctor = {.fix = cli->options.fix, .list = &list};
    int rc = cli_snapshot_context_read(cli, CLI_KIN_ALL, &context, err);

    if (!rc)
        rc = cli_open_jobs(&cli->options, !cli->options.fix, &doctor.jobs, err);
    doctor.conn = context.conn;
    doctor.domain = context.domain;
    doctor.points = &context.points;
    doctor.tree = &context.tree;
    if (!rc)
        rc = bm_doctor_run(&doctor, err);
    if (!rc) {
        print(cli, &doctor);
        rc = doctor.found > doctor.fixed ? BM_EXIT_FAILED : BM_EXIT_DONE;
    }
    bm_preflight_clear(&list);
    bm_job_store_close(doctor.jobs);
    return rc;
}
