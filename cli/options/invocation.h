// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One invocation of the program, and what a command is.
 */
#ifndef CLI_OPTIONS_INVOCATION_H
#define CLI_OPTIONS_INVOCATION_H

#include "cli/options/options.h"
#include "nbd/base/error.h"

#define CLI_VERSION "0.1.0"

struct cli;

/*
 * Runs a command. Returns the exit status (0 to 6) when it has said itself
 * what there is to say, or a negative errno with err filled: main prints it
 * and exits with err->status.
 */
typedef int (*cli_run)(struct cli *cli, struct bm_error *err);

struct cli_command {
    const char *words;              /* "job list" */
    const char *synopsis;           /* what follows the words and the options */
    const char *summary;            /* one line */
    const char *details;            /* for --help; NULL: none */
    const enum cli_option *options; /* ends with CLI_OPTION_NONE */
    int min_args, max_args;         /* max -1: any number */
    const char *missing;            /* what a missing argument is, "DOMAIN" */
    /* speaks in events, the last of them a result, when --json is given */
    bool stream;
    cli_run run;
};

/* Sorted as --help shows them; ends with one without words. */
extern const struct cli_command cli_commands[];

struct cli {
    struct cli_options options;
    const struct cli_command *command;
    char **args; /* NULL-terminated */
    int n_args;
    int report; /* --detach: where the parent waits to hear; else -1 */
};

#endif
