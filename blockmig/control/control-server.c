// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The server side, one thread. Clients are served one after the other, each
 * within a second, so a silent one cannot hold up the next for long.
 */
#include "blockmig/control/control-server.h"

#include "blockmig/control/control-socket.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define CLIENT_MS 1000
#define LINE_MAX_BYTES BM_LIMITS_LINE

struct bm_control {
    struct bm_control_address address;
    int listener, stop; /* stop: an eventfd */
    pthread_t thread;
    pthread_mutex_t lock;
    char *json;              /* under lock; NULL: nothing published yet */
    struct bm_limits limits; /* under lock */
    atomic_bool cancelled;
    atomic_int decision; /* enum bm_settle_decision */
    atomic_bool paused;
};

/* Ours, or root's: the mode of the folder keeps others out already. */
static bool peer_allowed(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

static char *status_line(struct bm_control *control)
{
    char *line = NULL;
    BM_LOCK(&control->lock);

    if (asprintf(&line, "%s\n", control->json ? control->json : "{}") < 0)
        return NULL;
    return line;
}

static bool limits(struct bm_control *control, const char *line)
{
    struct bm_limits asked;

    if (bm_limits_parse(line, &asked))
        return false;
    BM_LOCK(&control->lock);
    bm_limits_add(&control->limits, &asked);
    return true;
}

static void answer(struct bm_control *control, int fd, const char *line)
{
    BM_FREE char *text = NULL;

    if (strcmp(line, "status") == 0) {
        text = status_line(control);
    } else if (strcmp(line, "cancel") == 0) {
        atomic_store(&control->cancelled, true);
        text = strdup("ok\n");
    } else if (strcmp(line, "undo") == 0 || strcmp(line, "accept") == 0) {
        atomic_store(&control->decision,
                     line[0] == 'u' ? BM_DECISION_UNDO : BM_DECISION_ACCEPT);
        text = strdup("ok\n");
    } else if (strcmp(line, "pause") == 0) {
        atomic_store(&control->paused, true);
        text = strdup("ok\n");
    } else if (strcmp(line, "resume") == 0) {
        text = strdup(
            atomic_exchange(&control->paused, false) ? "ok\n" : "not paused\n");
    } else {
        text = strdup(limits(control, line) ? "ok\n" : "unknown\n");
    }
    if (text)
        (void)bm_control_send(fd, text, bm_now_ms() + CLIENT_MS);
}

static void serve(struct bm_control *control, int fd)
{
    BM_FREE char *line = NULL;

    if (peer_allowed(fd) &&
        bm_control_receive(fd, LINE_MAX_BYTES, bm_now_ms() + CLIENT_MS,
                           &line) == 0)
        answer(control, fd, line);
    (void)close(fd);
}

static void *server(void *opaque)
{
    struct bm_control *control = opaque;
    struct pollfd fds[] = {{.fd = control->stop, .events = POLLIN},
                           {.fd = control->listener, .events = POLLIN}};

    for (;;) {
        int fd;

        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (fds[0].revents)
            return NULL;
        fd = accept4(control->listener, NULL, NULL,
                     SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            serve(control, fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
            bm_sleep_ms(100); /* it stays readable: do not spin on it */
    }
}

/* The mode of the descriptor before the bind is the mode of the file. */
static int listen_at(struct bm_control *control)
{
    const struct bm_control_address *a = &control->address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    control->listener = fd;
    /* of a process that died: the caller holds the job's run lock */
    (void)unlinkat(a->dir, a->file, 0);
    if (fchmod(fd, 0600) < 0 ||
        bind(fd, (const struct sockaddr *)&a->un, sizeof a->un) < 0 ||
        listen(fd, 8) < 0)
        return -errno;
    return 0;
}

static int start(struct bm_control *control)
{
    int rc = listen_at(control);

    if (rc < 0)
        return rc;
    control->stop = eventfd(0, EFD_CLOEXEC);
    if (control->stop < 0)
        return -errno;
    return -bm_control_thread(&control->thread, server, control);
}

static void control_free(struct bm_control *control)
{
    if (control->listener >= 0) {
        (void)close(control->listener);
        (void)unlinkat(control->address.dir, control->address.file, 0);
    }
    if (control->stop >= 0)
        (void)close(control->stop);
    bm_control_address_clear(&control->address);
    pthread_mutex_destroy(&control->lock);
    free(control->json);
    free(control);
}

int bm_control_start(const char *dir, const char *id, struct bm_control **out,
                     struct bm_error *err)
{
    struct bm_control *control = calloc(1, sizeof *control);
    int rc;

    if (!control)
        return bm_fail_errno(err, ENOMEM, "cannot listen for 'job watch'");
    control->listener = control->stop = -1;
    pthread_mutex_init(&control->lock, NULL);
    atomic_init(&control->cancelled, false);
    atomic_init(&control->decision, BM_DECISION_NONE);
    atomic_init(&control->paused, false);
    rc = bm_control_find_address(dir, id, &control->address);
    if (rc == 0)
        rc = start(control);
    if (rc < 0) {
        control_free(control);
        return bm_fail_errno(err, -rc, "cannot listen on %s/%s.sock", dir, id);
    }
    *out = control;
    return 0;
}

void bm_control_stop(struct bm_control *control)
{
    const uint64_t one = 1;

    if (!control)
        return;
    while (write(control->stop, &one, sizeof one) < 0 && errno == EINTR)
        ;
    pthread_join(control->thread, NULL);
    control_free(control);
}

void bm_control_publish(struct bm_control *control, const char *json)
{
    char *copy = strdup(json);
    char *old;

    if (!copy)
        return; /* the last one stays: a watcher sees it again */
    pthread_mutex_lock(&control->lock);
    old = control->json;
    control->json = copy;
    pthread_mutex_unlock(&control->lock);
    free(old);
}

bool bm_control_cancelled(struct bm_control *control)
{
    return atomic_load(&control->cancelled);
}

enum bm_settle_decision bm_control_decision(struct bm_control *control)
{
    return (enum bm_settle_decision)atomic_load(&control->decision);
}

bool bm_control_paused(struct bm_control *control)
{
    return atomic_load(&control->paused);
}

bool bm_control_limits(struct bm_control *control, struct bm_limits *out)
{
    BM_LOCK(&control->lock);
    *out = control->limits;
    control->limits = (struct bm_limits){0};
    return out->parts != 0;
}
