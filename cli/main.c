// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/commands/help.h"
#include "cli/output/output.h"
#include "cli/session/store-watchdog.h"

#include "nbd/thread/background.h"
#include "nbd/thread/timed-call.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const enum cli_option no_options[] = {CLI_OPTION_NONE};

/* A file of ours must not get the number of a standard stream that is shut;
 * and what is written to such a stream must fail, not vanish. */
static void keep_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)open("/dev/null", O_RDONLY);
}

static int usage(struct bm_error *err, const char *what, const char *cause)
{
    bm_fail(err, EINVAL, "%s", what);
    bm_cause(err, "%s", cause);
    bm_status(err, BM_EXIT_USAGE);
    return -EINVAL;
}

/* The command that argv begins with, and how many words it has. */
static const struct cli_command *find_command(char **argv, int argc, int *words)
{
    for (const struct cli_command *c = cli_commands; c->words; c++) {
        const char *space = strchr(c->words, ' ');
        size_t first = space ? (size_t)(space - c->words) : strlen(c->words);

        if (strlen(argv[0]) != first || strncmp(argv[0], c->words, first) != 0)
            continue;
        *words = space ? 2 : 1;
        if (!space || (argc > 1 && strcmp(argv[1], space + 1) == 0))
            return c;
    }
    return NULL;
}

/* What stands first when no command does: 0 when it was a question. */
static int no_command(struct cli *cli, char **argv, int argc,
                      struct bm_error *err)
{
    char what[200];
    int used, rc;

    if (argc == 0)
        return usage(err, "no command", "nothing to do");
    snprintf(what, sizeof what, "command '%s'", argv[0]);
    if (!cli_is_group(argv[0]))
        return usage(err, what, "unknown");
    rc = cli_options_parse(&cli->options, no_options, argv[0], true, argc, argv,
                           &used, err);
    if (rc < 0)
        return rc;
    if (cli->options.help) {
        cli_help_overview(stdout, argv[0]);
        return 0;
    }
    if (used >= argc)
        return usage(err, what, "the second word is missing");
    snprintf(what, sizeof what, "command '%s %s'", argv[0], argv[used]);
    return usage(err, what, "unknown");
}

static int check_arguments(const struct cli *cli, struct bm_error *err)
{
    const struct cli_command *c = cli->command;
    char what[200];

    if (cli->n_args < c->min_args) {
        snprintf(what, sizeof what, "argument %s", c->missing);
        return usage(err, what, "missing");
    }
    for (int i = 0; i < cli->n_args; i++) {
        snprintf(what, sizeof what, "argument '%s'", cli->args[i]);
        if (c->max_args >= 0 && i >= c->max_args)
            return usage(err, what, "one too many");
        if (cli->args[i][0] == '\0')
            return usage(err, what, "empty");
    }
    return cli_options_check(&cli->options, err);
}

/* --help and its like, before anything is looked at. */
static bool answer_question(const struct cli *cli)
{
    const struct cli_options *o = &cli->options;

    if (o->version)
        puts("blockmig " CLI_VERSION);
    else if (o->help && cli->command)
        cli_help_command(stdout, cli->command);
    else if (o->help)
        cli_help_overview(stdout, NULL);
    else if (o->long_options && cli->command)
        cli_options_names(stdout, cli->command->options);
    else if (o->long_options)
        cli_options_all_names(stdout);
    else if (o->commands)
        for (const struct cli_command *c = cli_commands; c->words; c++)
            puts(c->words);
    else
        return false;
    return true;
}

static int run(struct cli *cli, int argc, char **argv, struct bm_error *err)
{
    int used = 0, words = 0;
    int rc = cli_options_parse(&cli->options, no_options, "blockmig", true,
                               argc, argv, &used, err);

    if (rc < 0 || answer_question(cli))
        return rc;
    argv += used;
    argc -= used;
    cli->command = argc > 0 ? find_command(argv, argc, &words) : NULL;
    if (!cli->command)
        return no_command(cli, argv, argc, err);
    argv += words - 1;
    argc -= words - 1;
    rc = cli_options_parse(&cli->options, cli->command->options,
                           cli->command->words, false, argc, argv, &used, err);
    if (rc < 0 || answer_question(cli))
        return rc;
    cli->args = argv + used;
    cli->n_args = argc - used;
    rc = check_arguments(cli, err);
    if (rc < 0)
        return rc;
    cli_output_start(&cli->options);
    return cli->command->run(cli, err);
}

int main(int argc, char **argv)
{
    struct cli cli = {.report = -1};
    struct bm_error err = BM_ERROR_INIT;
    bool watched;
    int status;

    keep_standard_streams();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit of the user: an error like others */
    /* what other programs print is read by us, so in one language */
    setenv("LC_ALL", "C", 1);
    cli_options_default(&cli.options);
    cli_output_start(&cli.options);
    status = run(&cli, argc, argv, &err);
    watched = cli_watchdog_end();
    if (status < 0) {
        status = (int)err.status;
        cli_output_error(&err, cli.command);
    }
    status = cli_output_end(status);
    /* no handler at the exit shall wait for a thread that hangs */
    if (watched || bm_background_left() || bm_calls_abandoned())
        _exit(status);
    return status;
}
