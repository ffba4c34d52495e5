// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* --help, made from the tables of commands and options. */
#ifndef CLI_COMMANDS_HELP_H
#define CLI_COMMANDS_HELP_H

#include "cli/commands/commands.h"

#include <stdio.h>

/* group: NULL, or the first word of some commands ("job"). */
void cli_help_overview(FILE *out, const char *group);
void cli_help_command(FILE *out, const struct cli_command *command);
/* Whether commands begin with that word and have a second one. */
bool cli_is_group(const char *word);

#endif
