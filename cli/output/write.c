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
