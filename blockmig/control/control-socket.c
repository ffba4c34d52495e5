// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/control/control-socket.h"

#include "blockmig/control/control-server.h"
#include "blockmig/job/job.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#define ASK_MS 5000
#define ANSWER_MAX (1024 * 1024)

int bm_control_find_address(const char *dir, const char *id,
                            struct bm_control_address *out)
{
    size_t size = sizeof out->un.sun_path;
    int n;

    memset(out, 0, sizeof *out);
    out->dir = -1;
    if (!bm_job_id_valid(id))
        return -EINVAL;
    out->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (out->dir < 0)
        return -errno;
    snprintf(out->file, sizeof out->file, "%s.sock", id);
    out->un.sun_family = AF_UNIX;
    n = snprintf(out->un.sun_path, size, "%s/%s", dir, out->file);
    if (n < 0 || (size_t)n >= size)
        snprintf(out->un.sun_path, size, "/proc/self/fd/%d/%s", out->dir,
                 out->file);
    return 0;
}

void bm_control_address_clear(struct bm_control_address *address)
{
    if (address->dir >= 0)
        (void)close(address->dir);
    address->dir = -1;
}

/* 0 when fd is ready for events, -ETIMEDOUT at the deadline. */
static int wait_for(int fd, short events, int64_t deadline)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline - bm_now_ms();
        int rc = left > 0 ? poll(&poll_fd, 1, (int)left) : 0;

        if (rc > 0)
            return 0;
        if (rc == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

/* Some bytes; -EPIPE at the end of the stream. */
static ssize_t receive_some(int fd, char *buf, size_t len, int64_t deadline)
{
    for (;;) {
        int rc = wait_for(fd, POLLIN, deadline);
        ssize_t n = rc < 0 ? rc : recv(fd, buf, len, 0);

        if (rc < 0)
            return rc;
        if (n > 0)
            return n;
        if (n == 0)
            return -EPIPE;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
    }
}

int bm_control_receive(int fd, size_t max, int64_t deadline, char **line)
{
    BM_FREE char *buf = malloc(max + 1);
    size_t used = 0;

    if (!buf)
        return -ENOMEM;
    while (used < max) {
        ssize_t n = receive_some(fd, buf + used, max - used, deadline);
        char *end;

        if (n < 0)
            return (int)n;
        end = memchr(buf + used, '\n', (size_t)n);
        used += (size_t)n;
        if (end) {
            *end = '\0';
            *line = BM_STEAL(buf);
            return 0;
        }
    }
    return -EMSGSIZE;
}

int bm_control_send(int fd, const char *text, int64_t deadline)
{
    for (size_t left = strlen(text); left > 0;) {
        int rc = wait_for(fd, POLLOUT, deadline);
        ssize_t n;

        if (rc < 0)
            return rc;
        n = send(fd, text, left, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (n > 0) {
            text += n;
            left -= (size_t)n;
        }
    }
    return 0;
}

int bm_control_thread(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    sigset_t all, old;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

/* EAGAIN: the queue of the listener is full, it does not say when not. */
static int connect_by(int fd, const struct bm_control_address *address,
                      int64_t deadline)
{
    while (connect(fd, (const struct sockaddr *)&address->un,
                   sizeof address->un) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (bm_now_ms() >= deadline)
            return -ETIMEDOUT;
        bm_sleep_ms(10);
    }
    return 0;
}

static int ask(const struct bm_control_address *address, const char *line,
               char **answer)
{
    int64_t deadline = bm_now_ms() + ASK_MS;
    BM_CLOSE int fd =
        socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc;

    if (fd < 0)
        return -errno;
    rc = connect_by(fd, address, deadline);
    if (rc == 0)
        rc = bm_control_send(fd, line, deadline);
    if (rc == 0)
        rc = bm_control_send(fd, "\n", deadline);
    if (rc == 0)
        rc = bm_control_receive(fd, ANSWER_MAX, deadline, answer);
    return rc;
}

int bm_control_ask(const char *dir, const char *id, const char *line,
                   char **answer, struct bm_error *err)
{
    struct bm_control_address address;
    int rc = bm_control_find_address(dir, id, &address);

    if (rc == 0)
        rc = ask(&address, line, answer);
    bm_control_address_clear(&address);
    if (rc == -ECONNREFUSED)
        rc = -ENOENT; /* the file of a process that died */
    if (rc == -ENOENT) {
        bm_fail(err, ENOENT, "cannot ask job %s", id);
        bm_cause(err, "it is not running");
    } else if (rc < 0) {
        bm_fail_errno(err, -rc, "cannot ask job %s", id);
    }
    return rc;
}
