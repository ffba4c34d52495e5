// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/output/output.h"
#include "cli/output/write-private.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

void cli_output_trouble(int status)
{
    cli_out.trouble = status;
}

/* Names come from outside: none may move the cursor. */
static void print_clean(FILE *stream, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        fputc(c < 0x20 || c == 0x7f ? ' ' : c, stream);
    }
}

void cli_output_error(const struct bm_error *err,
                      const struct cli_command *command)
{
    char line[2100];

    if (command && command->stream && cli_out.options->json &&
        !cli_out.result && err->status != BM_EXIT_USAGE)
        cli_json(bm_report_error(err));
    cli_clear_line();
    fflush(stdout);
    bm_error_line(err, line, sizeof line);
    fputs("blockmig: ", stderr);
    print_clean(stderr, line);
    fputc('\n', stderr);
    if (err->status == BM_EXIT_USAGE)
        fprintf(stderr, "Try 'blockmig %s%s--help'.\n",
                command ? command->words : "", command ? " " : "");
}

/* `blockmig job list | head -1`: who reads no more misses nothing. */
static bool reader_gone(void)
{
    struct pollfd fd = {.fd = STDOUT_FILENO};

    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR);
}

static void check_stdout(void)
{
    if (ferror(stdout))
        cli_out.lost = true;
}

int cli_output_end(int status)
{
    struct bm_error err = BM_ERROR_INIT;

    if (reader_gone())
        return status;
    cli_clear_line();
    check_stdout();
    if (fflush(stdout) == EOF || close(STDOUT_FILENO) < 0)
        cli_out.lost = true;
    if (!cli_out.lost)
        return status;
    bm_fail(&err, EIO, "cannot write to standard output");
    bm_cause(&err, "some of it was not taken (full, or closed)");
    if (status == 0)
        bm_remedy(&err, "what was asked for is done, its report is not");
    cli_out.result = true;
    cli_output_error(&err, NULL);
    if (cli_out.trouble)
        return cli_out.trouble;
    return status ? status : BM_EXIT_FAILED;
}
