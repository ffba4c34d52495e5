// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * reaper COMMAND...: runs it, and adopts the orphans of all that it starts
 * (PR_SET_CHILD_SUBREAPER, prctl(2)). A daemon's QEMU is one, and libvirtd
 * waits until a QEMU that it has ended is reaped: the first process of a
 * container may take a second for that. Ends as the command does, with what
 * it left still running; SIGINT, SIGTERM and SIGHUP go to the command.
 */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t command;

static void pass_on(int sig)
{
    kill(command, sig);
}

static void start(char **argv)
{
    command = fork();
    if (command < 0)
        err(125, "cannot start %s", argv[0]);
    if (command > 0)
        return;
    execvp(argv[0], argv);
    err(127, "cannot start %s", argv[0]);
}

static int end_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
    const int passed[] = {SIGINT, SIGTERM, SIGHUP};
    const struct sigaction action = {.sa_handler = pass_on,
                                     .sa_flags = SA_RESTART};
    int status;

    if (argc < 2)
        errx(125, "usage: reaper COMMAND...");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        err(125, "cannot adopt orphans");
    start(argv + 1);
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        sigaction(passed[i], &action, NULL);
    for (;;) {
        pid_t pid = wait(&status);

        if (pid == command)
            return end_of(status);
        if (pid < 0 && errno != EINTR)
            err(125, "cannot wait for %s", argv[1]);
    }
}
