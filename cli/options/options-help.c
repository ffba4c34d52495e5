// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/options/option-table.h"

#include <string.h>

#define HELP_COLUMN 26
#define HELP_WIDTH 78

/* text, wrapped, from HELP_COLUMN on; the cursor stands at column. */
static void wrap(FILE *out, int column, const char *text)
{
    if (column >= HELP_COLUMN - 1) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - column, "");
    column = HELP_COLUMN;
    while (*text) {
        int word = (int)strcspn(text, " ");

        if (column > HELP_COLUMN && column + 1 + word > HELP_WIDTH) {
            fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", word, text);
        column += word;
        text += word + (text[word] == ' ');
    }
    fputc('\n', out);
}

static void help_row(FILE *out, const struct cli_option_row *row)
{
    char left[80];
    int n;

    if (row->letter)
        n = snprintf(left, sizeof left, "  -%c, --%s", row->letter, row->name);
    else
        n = snprintf(left, sizeof left, "      --%s", row->name);
    if (row->argument)
        n += snprintf(left + n, sizeof left - (size_t)n, " %s", row->argument);
    fputs(left, out);
    wrap(out, n, row->help);
}

void cli_options_help(FILE *out, const enum cli_option *allowed)
{
    for (int i = CLI_OPTION_NONE + 1; i < CLI_OPTION_COUNT; i++)
        if (!cli_option_rows[i].hidden &&
            cli_option_rows[i].global == !allowed &&
            cli_option_allowed((enum cli_option)i, allowed))
            help_row(out, &cli_option_rows[i]);
}

void cli_options_names(FILE *out, const enum cli_option *allowed)
{
    for (int i = CLI_OPTION_NONE + 1; i < CLI_OPTION_COUNT; i++)
        if (!cli_option_rows[i].hidden &&
            cli_option_allowed((enum cli_option)i, allowed))
            fprintf(out, "--%s\n", cli_option_rows[i].name);
}

void cli_options_all_names(FILE *out)
{
    for (int i = CLI_OPTION_NONE + 1; i < CLI_OPTION_COUNT; i++)
        if (!cli_option_rows[i].hidden)
            fprintf(out, "--%s\n", cli_option_rows[i].name);
}
