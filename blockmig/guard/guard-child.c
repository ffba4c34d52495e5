// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/guard/guard-child.h"

#include "blockmig/job/job.h"
#include "blockmig/guard/guard-files.h"
#include "blockmig/guard/pivot-freeze.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "snapshot/domain/agent.h"
#include "snapshot/blockjob/backup.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/domain/domain.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* How often an armed guard whose bound has passed looks at the domain. */
#define LOOK_MS 20
/* The same when there is no run any more. */
#define AGAIN_MS 1000
/* How long a suspend that was under way when the run died may still land. */
#define LINGER_MS 10000
/* How long a QEMU may hang, with the suspend or the resume in it. */
#define HANG_MS 900000
/* How long the guard itself tries to end a window in which a pivot was
 * announced, before it resumes the guest as it is. */
#define FINISH_MS 3000

struct watch_context {
    const char *uri;
    struct bm_connection *conn;
    struct bm_domain *domain;
    struct bm_job *job;
    char *dir;
    int lock; /* DIR/ID.guard, held while armed */
    bool suspending, pivoting, acted;
    bool freezing;    /* the file systems */
    char *view;       /* the socket that it is served on, or NULL */
    bool alone;       /* the run is gone */
    int64_t bound_ms; /* bm_now_ms at which we act; 0: not yet */
};

static void disarm(struct watch_context *w)
{
    bm_domain_free(BM_STEAL(w->domain));
    bm_job_free(BM_STEAL(w->job));
    free(BM_STEAL(w->dir));
    free(BM_STEAL(w->view));
    if (w->lock >= 0)
        (void)close(w->lock);
    w->lock = -1;
    w->suspending = w->pivoting = w->freezing = w->acted = false;
    w->bound_ms = 0;
}

static int hold_lock(struct watch_context *w, struct bm_error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    BM_FREE char *path = NULL;

    if (asprintf(&path, "%s/%s.guard", w->dir, w->job->id) < 0) {
        path = NULL;
        return bm_fail_errno(err, ENOMEM, "cannot arm the guard");
    }
    w->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (w->lock < 0 || fcntl(w->lock, F_OFD_SETLK, &lock) < 0)
        return bm_fail_errno(err, errno, "cannot lock %s", path);
    return 0;
}

static int connect_domain(struct watch_context *w, struct bm_error *err)
{
    int rc = 0;

    if (w->conn && bm_connection_lost(w->conn))
        rc = bm_connection_reopen(w->conn, 0, err);
    else if (!w->conn)
        rc = bm_connection_open(w->uri, &w->conn, err);
    return rc ? rc
              : bm_domain_open_uuid(w->conn, w->job->uuid, &w->domain, err);
}

/* text: the state directory and the journal, both inside the message. */
static int arm(struct watch_context *w, const char *text, struct bm_error *err)
{
    int rc;

    disarm(w);
    w->dir = strdup(text);
    if (!w->dir)
        return bm_fail_errno(err, ENOMEM, "cannot arm the guard");
    rc = bm_job_from_json(text + strlen(text) + 1, &w->job, err);
    if (!rc)
        rc = hold_lock(w, err);
    if (!rc)
        rc = connect_domain(w, err);
    if (rc)
        disarm(w);
    return rc;
}

/* A pivot was announced: brings the window to its end. When that does not
 * come, the mark is left, because the guest will run unfrozen. */
static bool end_or_mark(struct watch_context *w)
{
    struct bm_error err = BM_ERROR_INIT;
    int64_t until = bm_now_ms() + FINISH_MS;

    while (bm_now_ms() < until && !bm_connection_lost(w->conn)) {
        int rc =
            bm_pivot_freeze_finish(w->conn, w->domain, w->job, FINISH_MS, &err);

        if (rc == 0)
            return true;
        /* a QEMU that hangs cannot run the guest either: look again */
        if (rc == -ETIMEDOUT)
            return false;
        bm_sleep_ms(LOOK_MS);
    }
    /* Without a connection nobody can resume it either: look again. A mark
     * that cannot be left (a full store) must not keep the guest paused once
     * there is no run that could freeze it later. */
    return !bm_connection_lost(w->conn) &&
           (bm_unclean_leave(w->dir, w->job->id, &err) == 0 || w->alone);
}

static bool look(struct watch_context *w)
{
    struct bm_error err = BM_ERROR_INIT;

    if (!w->domain || (bm_connection_lost(w->conn) &&
                       bm_connection_reopen(w->conn, 0, &err) < 0))
        return false;
    return bm_domain_refresh(w->conn, w->domain, &err) == 0;
}

/* false: the agent could not be asked, or gave no answer. A domain that is off
 * has nothing frozen. */
static bool thaw(struct watch_context *w, int *count)
{
    struct bm_error err = BM_ERROR_INIT;

    *count = 0;
    if (!look(w))
        return false;
    return !w->domain->active || bm_agent_thaw(w->domain, count, &err) == 0;
}

/* Ends the window, or the freeze: false when the guest is not paused (yet), or
 * libvirt could not be asked: then we look again. */
static bool act(struct watch_context *w)
{
    struct bm_error err = BM_ERROR_INIT;
    int count;

    if (w->freezing)
        return thaw(w, &count);
    if (!look(w) || !bm_domain_paused(w->domain))
        return false;
    if (w->pivoting && !end_or_mark(w))
        return false;
    return bm_domain_resume(w->domain, bm_call_ms(), &err) == 0;
}

/* Nothing is left to be undone. A guest that runs may have a suspend under way
 * in a QEMU that hangs: a resume waits in libvirt behind it, and is refused at
 * once where there is none. */
static bool is_over(struct watch_context *w)
{
    struct bm_error err = BM_ERROR_INIT;
    int rc = bm_domain_refresh(w->conn, w->domain, &err);

    if (rc)
        return rc == -ENOENT;
    if (!w->domain->active)
        return true;
    if (bm_domain_paused(w->domain))
        return false;
    rc = w->pivoting ? 0 : bm_domain_resume(w->domain, bm_call_ms(), &err);
    return rc != -ETIMEDOUT && rc != -EBUSY && rc != -ECONNRESET;
}

/* The run is gone, and may have asked for a freeze that lands only now: when
 * nothing was frozen, there is a second look. */
static void end_freeze(struct watch_context *w)
{
    int64_t until = bm_now_ms() + HANG_MS;
    int looks = 0, count = 0;

    while (looks < 2 && !count && bm_now_ms() < until) {
        looks += thaw(w, &count);
        if (looks < 2 && !count)
            bm_sleep_ms(AGAIN_MS);
    }
}

/* What the guest overwrites is saved aside as long as it lives, and nobody
 * watches the room for that any more. */
static void end_view(struct watch_context *w)
{
    int64_t until = bm_now_ms() + HANG_MS;
    struct bm_error err = BM_ERROR_INIT;

    while (bm_now_ms() < until) {
        if (look(w) &&
            (!w->domain->active ||
             bm_backup_end(w->domain, w->view, &err) == 0 || err.code == EBUSY))
            return;
        bm_sleep_ms(AGAIN_MS);
    }
}

/* The run is gone: ends its window, or sees that there was none. */
static void mover_died(struct watch_context *w)
{
    int64_t until = bm_now_ms() + LINGER_MS;

    w->alone = true;
    if (w->view)
        end_view(w);
    if (w->freezing && !w->acted)
        end_freeze(w);
    while (w->suspending && !w->acted && bm_now_ms() < until) {
        w->acted = act(w);
        if (!w->acted)
            bm_sleep_ms(LOOK_MS);
    }
    until = bm_now_ms() + HANG_MS;
    while (w->suspending && !w->acted && bm_now_ms() < until) {
        w->acted = act(w) || is_over(w);
        if (!w->acted)
            bm_sleep_ms(AGAIN_MS);
    }
}

static void answer(int pipe, enum bm_guard_word word, const char *text)
{
    char buf[600];
    int n = snprintf(buf, sizeof buf, "%c%s", word, text ? text : "");

    /* a run that is gone shows at the next read */
    if (n > 0)
        (void)send(pipe, buf, (size_t)n + 1, MSG_NOSIGNAL);
}

static enum bm_guard_word obey(struct watch_context *w, const char *message,
                               struct bm_error *err)
{
    const char word = message[0];

    if (word != BM_GUARD_ARM && word != BM_GUARD_DISARM && !w->job) {
        bm_fail(err, EPROTO, "the guard is not armed");
        return BM_GUARD_ERROR;
    }
    switch (word) {
    case BM_GUARD_ARM:
        return arm(w, message + 1, err) ? BM_GUARD_ERROR : BM_GUARD_OK;
    case BM_GUARD_SUSPENDING:
        w->suspending = true;
        w->bound_ms = bm_now_ms() + w->job->limits.max_pause_ms;
        return BM_GUARD_OK;
    case BM_GUARD_FREEZING:
        w->freezing = true;
        w->bound_ms = bm_now_ms() + bm_agent_ms();
        return BM_GUARD_OK;
    case BM_GUARD_VIEWING:
        w->view = strdup(message + 1);
        return w->view ? BM_GUARD_OK : BM_GUARD_ERROR;
    case BM_GUARD_PIVOTING:
        if (w->acted)
            return BM_GUARD_ACTED;
        w->pivoting = true;
        return BM_GUARD_OK;
    case BM_GUARD_DISARM: {
        bool acted = w->acted;

        disarm(w);
        return acted ? BM_GUARD_ACTED : BM_GUARD_OK;
    }
    default:
        bm_fail(err, EPROTO, "the guard does not know what it was asked");
        return BM_GUARD_ERROR;
    }
}

/* Milliseconds to wait for the next message; -1: for ever. */
static int wait_ms(const struct watch_context *w)
{
    int64_t left;

    if ((!w->suspending && !w->freezing) || w->acted)
        return -1;
    left = w->bound_ms - bm_now_ms();
    return left > LOOK_MS ? (int)left : LOOK_MS;
}

/* A message, or 0 when the run is gone, or -EAGAIN at the bound. */
static ssize_t wait_message(int pipe, const struct watch_context *w,
                            char *message)
{
    struct pollfd fd = {.fd = pipe, .events = POLLIN};
    int n = poll(&fd, 1, wait_ms(w));

    if (n < 0)
        return -EAGAIN;
    if (n == 0)
        return -EAGAIN;
    return recv(pipe, message, BM_GUARD_MESSAGE, 0);
}

int bm_guard_child(int pipe, const char *uri)
{
    struct watch_context w = {.uri = uri, .lock = -1};
    BM_FREE char *message = malloc(BM_GUARD_MESSAGE + 2);

    if (!message)
        return 1;
    for (;;) {
        struct bm_error err = BM_ERROR_INIT;
        char line[500] = "";
        ssize_t n = wait_message(pipe, &w, message);
        enum bm_guard_word word;

        if (n == -EAGAIN) {
            if ((w.suspending || w.freezing) && bm_now_ms() >= w.bound_ms)
                w.acted = act(&w);
            continue;
        }
        if (n <= 0)
            break;
        message[n] = message[n + 1] = '\0';
        word = obey(&w, message, &err);
        if (word == BM_GUARD_ERROR)
            bm_error_line(&err, line, sizeof line);
        answer(pipe, word, line);
    }
    mover_died(&w);
    disarm(&w);
    bm_connection_close(w.conn);
    return 0;
}
