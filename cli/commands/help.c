// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/commands/help.h"

#include <string.h>

static bool in_group(const struct cli_command *command, const char *group)
{
    size_t len = strlen(group);

    return strncmp(command->words, group, len) == 0 &&
           command->words[len] == ' ';
}

bool cli_is_group(const char *word)
{
    for (const struct cli_command *c = cli_commands; c->words; c++)
        if (in_group(c, word))
            return true;
    return false;
}

static int widest(const char *group)
{
    size_t width = 0;

    for (const struct cli_command *c = cli_commands; c->words; c++)
        if ((!group || in_group(c, group)) && strlen(c->words) > width)
            width = strlen(c->words);
    return (int)width;
}

void cli_help_overview(FILE *out, const char *group)
{
    int width = widest(group);

    fprintf(out, "Usage: blockmig %s%s[OPTION...] [ARGUMENT...]\n\n",
            group ? group : "[OPTION...] COMMAND", group ? " COMMAND " : " ");
    fputs("Moves the disks of virtual machines between datastores, with "
          "proof.\n\nCommands:\n",
          out);
    for (const struct cli_command *c = cli_commands; c->words; c++)
        if (!group || in_group(c, group))
            fprintf(out, "  %-*s  %s\n", width, c->words, c->summary);
    fputs("\nOptions of every command:\n", out);
    cli_options_help(out, NULL);
    fputs("\n'blockmig COMMAND --help' tells about one command; the manual is\n"
          "blockmig(1).\n",
          out);
}

void cli_help_command(FILE *out, const struct cli_command *command)
{
    fprintf(out, "Usage: blockmig %s%s%s [OPTION...]\n\n", command->words,
            command->synopsis[0] ? " " : "", command->synopsis);
    fprintf(out, "%s: %s.\n", command->words, command->summary);
    if (command->details)
        fprintf(out, "\n%s", command->details);
    if (command->options[0] != CLI_OPTION_NONE) {
        fputs("\nOptions:\n", out);
        cli_options_help(out, command->options);
    }
    fputs("\nOptions of every command:\n", out);
    cli_options_help(out, NULL);
}
