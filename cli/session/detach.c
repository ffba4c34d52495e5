// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/session/detach.h"

#include "blockmig/job/job.h"
#include "cli/output/output.h"
#include "nbd/base/cleanup.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

/* One write of at most PIPE_BUF, so it comes whole or not at all. */
struct report {
    char id[BM_JOB_ID_LEN]; /* empty: err tells why not */
    struct bm_error err;
};
_Static_assert(sizeof(struct report) <= PIPE_BUF, "a report is one write");

static void send_report(const struct cli *cli, const char *id,
                        const struct bm_error *err)
{
    struct report report;

    memset(&report, 0, sizeof report);
    snprintf(report.id, sizeof report.id, "%s", id);
    if (err)
        report.err = *err;
    while (write(cli->report, &report, sizeof report) < 0 && errno == EINTR)
        ;
    (void)close(cli->report);
}

void cli_detach_failed(const struct cli *cli, const struct bm_error *err)
{
    fflush(stdout);
    send_report(cli, "", err);
    _exit(BM_EXIT_FAILED);
}

static void print_job(const struct cli *cli, const char *id)
{
    json_object *o;

    if (!cli->options.json) {
        cli_print("%s\n", id);
        return;
    }
    o = json_object_new_object();
    if (o)
        bm_report_add_text(o, "job", id);
    cli_json(o);
}

/* The child died without a word. */
static int silent(pid_t child, struct bm_error *err)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    bm_fail(err, ECHILD, "cannot start the move in the background");
    if (WIFSIGNALED(status))
        bm_cause(err, "it was killed by signal %d", WTERMSIG(status));
    else
        bm_cause(err, "it ended with status %d", WEXITSTATUS(status));
    bm_remedy(err, "see 'blockmig job list'");
    return -ECHILD;
}

/* 1: the child is at work on that job. */
static int parent(int fd, pid_t child, char *id, struct bm_error *err)
{
    struct report report;
    ssize_t n;

    do {
        n = read(fd, &report, sizeof report);
    } while (n < 0 && errno == EINTR);
    (void)close(fd);
    if (n != (ssize_t)sizeof report)
        return silent(child, err);
    if (report.id[0]) {
        memcpy(id, report.id, sizeof report.id);
        return 1;
    }
    *err = report.err;
    return err->code ? -err->code : -EIO;
}

static int child_run(struct cli *cli, cli_run run, struct bm_error *err)
{
    BM_CLOSE int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int rc;

    setsid();
    signal(SIGHUP, SIG_IGN);
    if (null >= 0)
        (void)dup2(null, STDIN_FILENO);
    /* what preflight says is no part of the answer: that is the job's ID */
    if (!cli->options.json)
        (void)dup2(STDERR_FILENO, STDOUT_FILENO);
    rc = run(cli, err);
    if (cli->report < 0)
        return rc; /* it ran; main says how it ended, into the log */
    cli_detach_failed(cli, err);
}

int cli_detach(struct cli *cli, cli_run run, struct bm_error *err)
{
    char id[BM_JOB_ID_LEN] = "";
    int rc = cli_detach_id(cli, run, id, err);

    if (!id[0])
        return rc; /* it failed, or we are the child */
    print_job(cli, id);
    return 0;
}

int cli_detach_id(struct cli *cli, cli_run run, char *id, struct bm_error *err)
{
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return bm_fail_errno(err, errno, "cannot go to the background");
    fflush(stdout);
    pid = fork();
    if (pid < 0) {
        int code = errno;

        (void)close(fds[0]);
        (void)close(fds[1]);
        return bm_fail_errno(err, code, "cannot go to the background");
    }
    if (pid > 0) {
        (void)close(fds[1]);
        return parent(fds[0], pid, id, err);
    }
    (void)close(fds[0]);
    cli->report = fds[1];
    return child_run(cli, run, err);
}

int cli_detach_ready(struct cli *cli, const char *dir, const char *id,
                     struct bm_error *err)
{
    BM_FREE char *path = NULL;
    BM_CLOSE int fd = -1;

    if (cli->report < 0)
        return 0;
    if (asprintf(&path, "%s/%s.log", dir, id) < 0)
        return bm_fail_errno(err, ENOMEM, "cannot open the log of job %s", id);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
              0600);
    fflush(stdout);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
        return bm_fail_errno(err, errno, "cannot open the log %s", path);
    cli_output_start(&cli->options);
    send_report(cli, id, NULL);
    cli->report = -1;
    return 0;
}
