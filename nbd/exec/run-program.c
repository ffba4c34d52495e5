// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/exec/run-program.h"

#include "nbd/base/cleanup.h"
#include "nbd/exec/spawn.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define TICK_MS 200
#define LINE_MAX_LEN 512
/* More than any qemu-img answers; a runaway must not eat the host. */
#define OUT_MAX ((size_t)256 << 20)

struct run_context {
    const char *name;
    struct bm_process process;
    int out, errs; /* our ends, non-blocking */
    bm_child_tick tick;
    void *opaque;
    bool keep; /* standard output is wanted as a whole */
    char *data;
    size_t used, room;
    char line[LINE_MAX_LEN]; /* the piece of standard output in progress */
    size_t line_len;
    char last[LINE_MAX_LEN]; /* the last line of standard error */
    char errline[LINE_MAX_LEN];
    size_t errline_len;
    int64_t end, next_tick; /* end 0: never */
    bool still;
};

static int keep_output(struct run_context *r, const char *buf, size_t n)
{
    if (r->used + n + 1 > OUT_MAX)
        return -EFBIG;
    if (r->used + n + 1 > r->room) {
        size_t room = (r->used + n + 1) * 2;
        char *data = realloc(r->data, room);

        if (!data)
            return -ENOMEM;
        r->data = data;
        r->room = room;
    }
    memcpy(r->data + r->used, buf, n);
    r->used += n;
    r->data[r->used] = '\0';
    return 0;
}

/* Adds one character; true when it ended a line that is not empty. A line
 * too long is cut, never split. */
static bool add_char(char *line, size_t *len, char c)
{
    if (c == '\n' || c == '\r') {
        bool any = *len > 0;

        line[*len] = '\0';
        *len = 0;
        return any;
    }
    if (*len < LINE_MAX_LEN - 1)
        line[(*len)++] = c;
    return false;
}

static int call_tick(struct run_context *r, const char *line)
{
    int rc = r->tick ? r->tick(r->opaque, line) : 0;
    bool still = rc == BM_CHILD_STILL;

    r->next_tick = bm_now_ms() + TICK_MS;
    if (still != r->still)
        (void)kill(r->process.pid, still ? SIGSTOP : SIGCONT);
    r->still = still;
    return rc && !still ? -ECANCELED : 0;
}

static int take_out(struct run_context *r, const char *buf, size_t n)
{
    bool fresh = false;
    char newest[LINE_MAX_LEN];
    int rc = r->keep ? keep_output(r, buf, n) : 0;

    for (size_t i = 0; rc == 0 && i < n; i++)
        if (add_char(r->line, &r->line_len, buf[i])) {
            memcpy(newest, r->line, sizeof newest);
            fresh = true;
        }
    return rc == 0 && fresh ? call_tick(r, newest) : rc;
}

static void take_errs(struct run_context *r, const char *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (add_char(r->errline, &r->errline_len, buf[i]))
            memcpy(r->last, r->errline, sizeof r->last);
}

/* Reads what is there; closes the descriptor at its end. */
static int drain(struct run_context *r, int *fd)
{
    char buf[16384];
    ssize_t got;
    int rc = 0;

    while (rc == 0 && *fd >= 0) {
        got = read(*fd, buf, sizeof buf);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return 0;
        if (got <= 0) {
            (void)close(*fd);
            *fd = -1;
        } else if (fd == &r->out) {
            rc = take_out(r, buf, (size_t)got);
        } else {
            take_errs(r, buf, (size_t)got);
        }
    }
    return rc;
}

static int wait_ms(const struct run_context *r, int64_t now)
{
    int64_t until = r->tick ? r->next_tick : r->end;

    if (r->end && r->end < until)
        until = r->end;
    return until > now ? (int)(until - now) : 0;
}

/* One turn: 1 when the child has ended and all it wrote was read. */
static int turn(struct run_context *r)
{
    struct pollfd pfds[] = {{r->out, POLLIN, 0},
                            {r->errs, POLLIN, 0},
                            {r->process.pidfd, POLLIN, 0}};
    int rc = poll(pfds, 3, wait_ms(r, bm_now_ms()));

    if (rc < 0 && errno != EINTR)
        return -errno;
    rc = drain(r, &r->out);
    if (rc == 0)
        rc = drain(r, &r->errs);
    if (rc != 0)
        return rc;
    if (pfds[2].revents)
        return 1;
    if (r->end && bm_now_ms() >= r->end)
        return -ETIMEDOUT;
    if (r->tick && bm_now_ms() >= r->next_tick)
        return call_tick(r, NULL);
    return 0;
}

static int set_nonblocking(int fd)
{
    return fcntl(fd, F_SETFL, O_NONBLOCK) != 0 ? -errno : 0;
}

static int start(struct run_context *r, const char *const argv[],
                 struct bm_error *err)
{
    BM_CLOSE int out = -1, errs = -1;
    struct bm_spawn how = {.argv = argv, .listener = -1};
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return bm_fail_errno(err, errno, "cannot run %s", argv[0]);
    r->out = ends[0];
    how.out = out = ends[1];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return bm_fail_errno(err, errno, "cannot run %s", argv[0]);
    r->errs = ends[0];
    how.errs = errs = ends[1];
    if (set_nonblocking(r->out) != 0 || set_nonblocking(r->errs) != 0)
        return bm_fail_errno(err, errno, "cannot run %s", argv[0]);
    return bm_spawn_program(&how, &r->process, err);
}

static int explain_status(struct run_context *r, int status, int *exit_status,
                          struct bm_error *err)
{
    if (r->errline_len > 0) /* a last line without its newline */
        take_errs(r, "\n", 1);
    if (WIFSIGNALED(status)) {
        bm_fail(err, EIO, "%s was killed", r->name);
        return bm_cause(err, "signal %d%s%s", WTERMSIG(status),
                        r->last[0] ? ": " : "", r->last),
               -EIO;
    }
    if (exit_status) {
        *exit_status = WEXITSTATUS(status);
        if (*exit_status != 0) {
            bm_fail(err, EIO, "%s failed", r->name);
            bm_cause(err, "%s", r->last);
        }
        return 0;
    }
    if (WEXITSTATUS(status) == 0)
        return 0;
    bm_fail(err, EIO, "%s failed with status %d", r->name, WEXITSTATUS(status));
    return bm_cause(err, "%s", r->last), -EIO;
}

static int explain_stop(const struct run_context *r, int rc, int timeout_ms,
                        struct bm_error *err)
{
    if (rc == -ETIMEDOUT)
        return bm_fail(err, ETIMEDOUT, "%s took longer than %d ms", r->name,
                       timeout_ms);
    if (rc == -ECANCELED)
        return bm_fail(err, ECANCELED, "%s was cancelled", r->name);
    return bm_fail_errno(err, -rc, "cannot read what %s says", r->name);
}

static void release(struct run_context *r)
{
    bm_process_end(&r->process, 0);
    bm_cleanup_fd(&r->out);
    bm_cleanup_fd(&r->errs);
    free(r->data);
}

int bm_child_run(const char *const argv[], int timeout_ms, bm_child_tick tick,
                 void *opaque, int *exit_status, char **out,
                 struct bm_error *err)
{
    __attribute__((cleanup(release))) struct run_context r = {
        .name = argv[0],
        .process = BM_PROCESS_INIT,
        .out = -1,
        .errs = -1,
        .tick = tick,
        .opaque = opaque,
        .keep = out != NULL,
        .end = timeout_ms ? bm_now_ms() + timeout_ms : 0,
        .next_tick = bm_now_ms() + TICK_MS,
    };
    int rc;

    if (timeout_ms < 0 || (timeout_ms == 0 && !tick))
        return bm_fail_errno(err, EINVAL, "cannot run %s", argv[0]);
    rc = start(&r, argv, err);
    if (rc != 0)
        return rc;
    do
        rc = turn(&r);
    while (rc == 0);
    if (rc < 0)
        return explain_stop(&r, rc, timeout_ms, err);
    rc = explain_status(&r, bm_process_reap(&r.process), exit_status, err);
    if (rc == 0 && out)
        *out = r.data ? BM_STEAL(r.data) : strdup("");
    if (rc == 0 && out && !*out)
        return bm_fail_errno(err, ENOMEM, "cannot run %s", argv[0]);
    return rc;
}
