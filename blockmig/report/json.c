// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/report/json.h"
#include "nbd/base/units.h"

#include <stdio.h>

void bm_report_add_text(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name,
                           text ? json_object_new_string(text) : NULL);
}

void bm_report_add_number(json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

void bm_report_add_bool(json_object *object, const char *name, bool value)
{
    json_object_object_add(object, name, json_object_new_boolean(value));
}

const char *bm_report_time(int64_t ms, char *buf, size_t size)
{
    time_t seconds = (time_t)(ms / 1000);
    char date[32];
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) ||
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        date[0] = '\0';
    snprintf(buf, size, "%s.%03dZ", date, (int)(ms % 1000));
    return buf;
}

void bm_report_add_bytes(json_object *object, const char *name, uint64_t bytes)
{
    json_object_object_add(object, name, json_object_new_uint64(bytes));
}

void bm_report_append_range(json_object *array, const struct bm_range *range)
{
    json_object *o = json_object_new_object();

    bm_report_add_bytes(o, "offset", range->offset);
    bm_report_add_bytes(o, "length", range->length);
    json_object_array_add(array, o);
}

void bm_report_add_ranges(json_object *object, const char *name,
                          const struct bm_range *ranges, size_t n)
{
    json_object *array = json_object_new_array();

    for (size_t i = 0; array && i < n; i++)
        bm_report_append_range(array, &ranges[i]);
    json_object_object_add(object, name, array);
}

json_object *bm_report_event(const char *event, const char *job)
{
    json_object *o = json_object_new_object();
    char now[40];

    if (!o)
        return NULL;
    bm_report_add_text(o, "event", event);
    bm_report_add_text(o, "job", job);
    bm_report_add_text(o, "time",
                       bm_report_time(bm_wall_ms(), now, sizeof now));
    return o;
}

json_object *bm_report_error(const struct bm_error *err)
{
    json_object *o = bm_report_event("result", NULL);
    char line[2100];

    if (!o)
        return NULL;
    bm_error_line(err, line, sizeof line);
    bm_report_add_number(o, "exit_status", (int)err->status);
    bm_report_add_text(o, "error", line);
    return o;
}
