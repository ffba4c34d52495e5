// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/output/checks.h"

#include "cli/output/write.h"
#include "blockmig/report/json.h"

#include <stdio.h>

static void name_of(const struct bm_check *check, char *buf, size_t size)
{
    snprintf(buf, size, "%s%s%s", check->name, check->disk[0] ? " " : "",
             check->disk);
}

void cli_checks_print(const struct bm_preflight *checks)
{
    for (size_t i = 0; i < checks->n; i++) {
        const struct bm_check *check = &checks->checks[i];
        char name[80];

        name_of(check, name, sizeof name);
        cli_print("%-7s  %-20s  %s\n", bm_verdict_name(check->verdict), name,
                  check->text);
        if (check->verdict != BM_OK && check->remedy[0])
            cli_print("%-7s  %-20s  remedy: %s\n", "", "", check->remedy);
    }
}

static void fill(json_object *o, const struct bm_check *check)
{
    bm_report_add_text(o, "check", check->name);
    bm_report_add_text(o, "disk", check->disk[0] ? check->disk : NULL);
    bm_report_add_text(o, "verdict", bm_verdict_name(check->verdict));
    bm_report_add_text(o, "text", check->text);
    bm_report_add_text(o, "remedy", check->remedy[0] ? check->remedy : NULL);
}

json_object *cli_checks_json(const struct bm_preflight *checks)
{
    json_object *array = json_object_new_array();

    for (size_t i = 0; array && i < checks->n; i++) {
        json_object *o = json_object_new_object();

        if (o)
            fill(o, &checks->checks[i]);
        json_object_array_add(array, o);
    }
    return array;
}

void cli_checks_say(const struct bm_preflight *checks, const char *job,
                    bool json)
{
    for (size_t i = 0; i < checks->n; i++) {
        const struct bm_check *check = &checks->checks[i];
        char name[80];

        if (check->verdict == BM_OK)
            continue;
        if (json) {
            json_object *o = bm_report_event("check", job);

            if (o)
                fill(o, check);
            cli_json(o);
            continue;
        }
        name_of(check, name, sizeof name);
        cli_say("%s: %s: %s%s%s\n", bm_verdict_name(check->verdict), name,
                check->text, check->remedy[0] ? "; " : "", check->remedy);
    }
}
