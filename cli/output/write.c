// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/output/write-private.h"

#include <stdarg.h>
#include <time.h>

struct cli_out cli_out;

void cli_clear_line(void)
{
    if (cli_out.line)
        fputs("\r\033[K", stdout);
    cli_out.line = false;
}

void cli_print(const char *fmt, ...)
{
    va_list ap;

    cli_clear_line();
    va_start(ap, fmt);
    if (vprintf(fmt, ap) < 0)
        cli_out.lost = true;
    va_end(ap);
}

void cli_say(const char *fmt, ...)
{
    va_list ap;

    if (cli_out.options->json || cli_out.options->quiet)
        return;
    cli_clear_line();
    va_start(ap, fmt);
    if (vprintf(fmt, ap) < 0)
        cli_out.lost = true;
    va_end(ap);
}

void cli_json(json_object *object)
{
    const char *text = object ? json_object_to_json_string_ext(
                                    object, JSON_C_TO_STRING_PLAIN |
                                                JSON_C_TO_STRING_NOSLASHESCAPE)
                              : NULL;

    if (!text || puts(text) == EOF)
        cli_out.lost = true;
    json_object_put(object);
}

void cli_add_text(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name,
                           text ? json_object_new_string(text) : NULL);
}

void cli_add_number(json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

void cli_add_bool(json_object *object, const char *name, bool value)
{
    json_object_object_add(object, name, json_object_new_boolean(value));
}

const char *cli_time(int64_t ms, char *buf, size_t size)
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

void cli_add_bytes(json_object *object, const char *name, uint64_t bytes)
{
    json_object_object_add(object, name, json_object_new_uint64(bytes));
}

void cli_append_range(json_object *array, const struct bm_range *range)
{
    json_object *o = json_object_new_object();

    cli_add_bytes(o, "offset", range->offset);
    cli_add_bytes(o, "length", range->length);
    json_object_array_add(array, o);
}

void cli_add_ranges(json_object *object, const char *name,
                    const struct bm_range *ranges, size_t n)
{
    json_object *array = json_object_new_array();

    for (size_t i = 0; array && i < n; i++)
        cli_append_range(array, &ranges[i]);
    json_object_object_add(object, name, array);
}
