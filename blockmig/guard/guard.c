// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/guard/guard.h"

#include "blockmig/guard/guard-child.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* An answer may need a new connection to libvirt. */
#define ANSWER_MS 30000
/* An idle guard needs milliseconds to end; a stopped one for ever. */
#define END_MS 5000

struct bm_guard {
    pid_t pid;
    int pipe;
    bool armed;
    int max_pause_ms; /* armed: of the job */
};

/* In the child: a process of its own, deaf to the terminal, with nothing of
 * ours but the pipe. */
static void become_guard(int pipe, const char *uri)
{
    static const int deaf[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT};
    int null = open("/dev/null", O_RDWR);

    for (size_t i = 0; i < sizeof deaf / sizeof deaf[0]; i++)
        signal(deaf[i], SIG_IGN);
    (void)setsid();
    (void)prctl(PR_SET_NAME, "blockmig-guard");
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        (void)dup2(null, fd);
    if (pipe != 3) {
        (void)dup2(pipe, 3);
        pipe = 3;
    }
    (void)close_range(4, ~0U, 0);
    unsetenv("BLOCKMIG_STOP_AT");
    _exit(bm_guard_child(pipe, uri));
}

int bm_guard_start(const char *uri, struct bm_guard **out, struct bm_error *err)
{
    struct bm_guard *guard = calloc(1, sizeof *guard);
    int pair[2];

    if (!guard ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        free(guard);
        return bm_fail_errno(err, errno, "cannot start the guard");
    }
    guard->pid = fork();
    if (guard->pid == 0) {
        (void)close(pair[0]);
        become_guard(pair[1], uri);
    }
    (void)close(pair[1]);
    guard->pipe = pair[0];
    if (guard->pid < 0) {
        int code = errno;

        (void)close(pair[0]);
        free(guard);
        return bm_fail_errno(err, code, "cannot start the guard");
    }
    *out = guard;
    return 0;
}

/* One that does not end by itself is killed. */
static void reap(pid_t pid)
{
    struct pollfd guard = {(int)syscall(SYS_pidfd_open, pid, 0), POLLIN, 0};
    int ended;

    do
        ended = guard.fd < 0 ? 0 : poll(&guard, 1, END_MS);
    while (ended < 0 && errno == EINTR);
    if (ended <= 0)
        (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    bm_cleanup_fd(&guard.fd);
}

void bm_guard_stop(struct bm_guard *guard)
{
    if (!guard)
        return;
    (void)close(guard->pipe);
    /* an idle guard ends at once; an armed one outlives us on purpose */
    if (!guard->armed)
        reap(guard->pid);
    free(guard);
}

static int failed(struct bm_error *err, int code, const char *cause)
{
    bm_fail(err, code, "cannot speak to the guard");
    return bm_cause(err, "%s", cause), -code;
}

/* Sends and takes the answer: 0, -ETIME (it acted), or an error. */
static int ask(struct bm_guard *guard, const void *message, size_t len,
               int timeout_ms, struct bm_error *err)
{
    struct pollfd fd = {.fd = guard->pipe, .events = POLLIN};
    int64_t until = bm_now_ms() + timeout_ms;
    char text[600];
    ssize_t n;

    /* what came too late for the question before this one */
    while (recv(guard->pipe, text, sizeof text, MSG_DONTWAIT) > 0)
        ;
    if (send(guard->pipe, message, len, MSG_NOSIGNAL) < 0)
        return failed(err, EPIPE, strerror(errno));
    while ((n = poll(&fd, 1, (int)(until - bm_now_ms()))) < 0 &&
           errno == EINTR && bm_now_ms() < until)
        ;
    if (n <= 0)
        return failed(err, EPIPE, "no answer in time");
    n = recv(guard->pipe, text, sizeof text - 1, 0);
    if (n <= 0)
        return failed(err, EPIPE, "it is gone");
    text[n] = '\0';
    if (text[0] == BM_GUARD_OK)
        return 0;
    if (text[0] == BM_GUARD_ACTED)
        return bm_fail_errno(err, ETIME, "the pause took too long"), -ETIME;
    return failed(err, EIO, text + 1);
}

static int say(struct bm_guard *guard, enum bm_guard_word word,
               struct bm_error *err)
{
    char letter = (char)word;

    /* the guest is paused, and must not wait for a guard that hangs */
    return ask(guard, &letter, 1,
               word == BM_GUARD_PIVOTING ? guard->max_pause_ms : ANSWER_MS,
               err);
}

int bm_guard_arm(struct bm_guard *guard, const char *dir,
                 const struct bm_job *job, struct bm_error *err)
{
    BM_FREE struct bm_job *lean = malloc(sizeof *lean);
    BM_FREE char *json = NULL;
    BM_FREE char *message = NULL;
    int n, rc;

    if (!lean)
        return bm_fail_errno(err, ENOMEM, "cannot arm the guard");
    /* of a snapshot command a pause is all that it may have to end */
    memcpy(lean, job, sizeof *lean);
    lean->snapshot = NULL;
    if (!bm_strategy_traits_of(job->plan.strategy)->moves)
        bm_job_fill_plan(lean)->strategy = BM_STRATEGY_COLD;
    json = bm_job_to_json(lean);
    if (!json || (n = asprintf(&message, "%c%s%c%s", BM_GUARD_ARM, dir, '\0',
                               json)) < 0) {
        message = NULL;
        return bm_fail_errno(err, ENOMEM, "cannot arm the guard");
    }
    if (n > BM_GUARD_MESSAGE)
        return failed(err, EMSGSIZE, "the job is too large");
    guard->max_pause_ms = job->limits.max_pause_ms;
    rc = ask(guard, message, (size_t)n, ANSWER_MS, err);
    guard->armed = rc == 0;
    return rc;
}

int bm_guard_suspending(struct bm_guard *guard, struct bm_error *err)
{
    return say(guard, BM_GUARD_SUSPENDING, err);
}

int bm_guard_freezing(struct bm_guard *guard, struct bm_error *err)
{
    return say(guard, BM_GUARD_FREEZING, err);
}

int bm_guard_viewing(struct bm_guard *guard, const char *socket,
                     struct bm_error *err)
{
    char message[200];
    int n = snprintf(message, sizeof message, "%c%s", BM_GUARD_VIEWING, socket);

    if (n < 0 || (size_t)n >= sizeof message)
        return failed(err, EMSGSIZE, "the name of the socket is too long");
    return ask(guard, message, (size_t)n, ANSWER_MS, err);
}

int bm_guard_pivoting(struct bm_guard *guard, struct bm_error *err)
{
    return say(guard, BM_GUARD_PIVOTING, err);
}

int bm_guard_disarm(struct bm_guard *guard, struct bm_error *err)
{
    int rc = say(guard, BM_GUARD_DISARM, err);

    if (rc == 0 || rc == -ETIME)
        guard->armed = false;
    return rc;
}
