// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * watch URI DOMAIN SERIALFILE OUT: what happens to a guest, by the host's
 * clock. Appends to OUT, until SIGTERM or SIGINT:
 *
 *   MS LINE        each line the guest prints
 *   MS E WORD      a lifecycle event: defined, undefined, started, suspended,
 *                  resumed, stopped, shutdown, suspended-pm, crashed; or
 *                  connected, disconnected of the daemon
 *   MS E state WORD  after connecting: running, paused, shut-off, none, other
 *
 * MS are milliseconds of CLOCK_MONOTONIC with three decimals. The serial file
 * is followed from its present end, and from its start when it is new.
 *
 * Two threads, so that a daemon that hangs does not delay the guest's lines:
 * the main one follows the file, the other talks to libvirt. They share only
 * OUT, written line by line with O_APPEND.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#define RETRY_MS 100

struct watch_context {
    const char *uri, *domain, *serial; /* constant */
    int out;                           /* constant */
    int lost;                          /* the libvirt thread's */
};

struct follower {
    int fd;
    char line[8192];
    size_t length;
};

static void note(const struct watch_context *w, const char *text)
{
    char line[8300];
    struct timespec t;
    int n;

    clock_gettime(CLOCK_MONOTONIC, &t);
    n = snprintf(line, sizeof line, "%lld.%03ld %s\n",
                 (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000,
                 t.tv_nsec / 1000 % 1000, text);
    if (n >= (int)sizeof line)
        n = sizeof line - 1;
    if (write(w->out, line, (size_t)n) != n) {
        perror("watch: write");
        _exit(1);
    }
}

static int on_event(virConnectPtr conn, virDomainPtr domain, int event,
                    int detail, void *opaque)
{
    static const char *const word[] = {
        "E defined",   "E undefined",    "E started",
        "E suspended", "E resumed",      "E stopped",
        "E shutdown",  "E suspended-pm", "E crashed",
    };
    const struct watch_context *w = opaque;

    if (strcmp(virDomainGetName(domain), w->domain) == 0 && event >= 0 &&
        event < (int)(sizeof word / sizeof word[0]))
        note(w, word[event]);
    return 0;
}

static void on_close(virConnectPtr conn, int reason, void *opaque)
{
    struct watch_context *w = opaque;

    w->lost = 1;
}

static void on_timer(int timer, void *opaque)
{
}

static void note_state(const struct watch_context *w, virConnectPtr conn)
{
    virDomainPtr domain = virDomainLookupByName(conn, w->domain);
    int state = -1, reason;

    if (domain == NULL) {
        note(w, "E state none");
        return;
    }
    if (virDomainGetState(domain, &state, &reason, 0) < 0)
        state = -1;
    note(w, state == VIR_DOMAIN_RUNNING   ? "E state running"
            : state == VIR_DOMAIN_PAUSED  ? "E state paused"
            : state == VIR_DOMAIN_SHUTOFF ? "E state shut-off"
                                          : "E state other");
    virDomainFree(domain);
}

/* Events first, then the state: nothing is missed between them. */
static int subscribe(struct watch_context *w, virConnectPtr conn)
{
    if (virConnectRegisterCloseCallback(conn, on_close, w, NULL) < 0 ||
        virConnectDomainEventRegisterAny(
            conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
            VIR_DOMAIN_EVENT_CALLBACK(on_event), w, NULL) < 0 ||
        virConnectSetKeepAlive(conn, 2, 3) < 0)
        return -1;
    note(w, "E connected");
    note_state(w, conn);
    return 0;
}

/* One connection, until it is lost. */
static void attend(struct watch_context *w)
{
    virConnectPtr conn = virConnectOpen(w->uri);

    w->lost = 0;
    if (conn == NULL)
        return;
    if (subscribe(w, conn) == 0) {
        while (!w->lost && virEventRunDefaultImpl() == 0)
            ;
        note(w, "E disconnected");
    }
    virConnectUnregisterCloseCallback(conn, on_close);
    virConnectClose(conn);
}

static void *attend_forever(void *opaque)
{
    struct timespec pause = {0, RETRY_MS * 1000000L};

    for (;;) {
        attend(opaque);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void quiet(void *opaque, virErrorPtr err)
{
}

static int start_libvirt(struct watch_context *w)
{
    pthread_t thread;

    virSetErrorFunc(NULL, quiet);
    /* the timer keeps the loop turning, so that w->lost is seen */
    if (virEventRegisterDefaultImpl() < 0 ||
        virEventAddTimeout(RETRY_MS, on_timer, NULL, NULL) < 0)
        return -1;
    errno = pthread_create(&thread, NULL, attend_forever, w);
    return errno == 0 ? 0 : -1;
}

static void take(const struct watch_context *w, struct follower *f,
                 const char *data, size_t size)
{
    size_t i;

    for (i = 0; i < size; i++) {
        if (data[i] != '\n') {
            if (data[i] != '\r' && f->length < sizeof f->line - 1)
                f->line[f->length++] = data[i];
            continue;
        }
        f->line[f->length] = '\0';
        note(w, f->line);
        f->length = 0;
    }
}

/* Reads what is new; begins again when the file was truncated. */
static void follow(const struct watch_context *w, struct follower *f)
{
    char data[16384];
    struct stat st;
    ssize_t n;

    if (f->fd < 0)
        f->fd = open(w->serial, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0)
        return;
    if (fstat(f->fd, &st) == 0 && st.st_size < lseek(f->fd, 0, SEEK_CUR))
        lseek(f->fd, 0, SEEK_SET);
    while ((n = read(f->fd, data, sizeof data)) > 0)
        take(w, f, data, (size_t)n);
}

static int watch_file(const struct watch_context *w, int signals)
{
    struct follower f = {.fd = open(w->serial, O_RDONLY | O_CLOEXEC)};
    int changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    struct pollfd p[] = {{.fd = signals, .events = POLLIN},
                         {.fd = changes, .events = POLLIN}};
    char events[4096];
    int known = -1;

    if (changes < 0)
        return -1;
    if (f.fd >= 0)
        lseek(f.fd, 0, SEEK_END);
    while (p[0].revents == 0) {
        if (known < 0)
            known = inotify_add_watch(changes, w->serial, IN_MODIFY);
        follow(w, &f);
        /* without the file: look for it again */
        if (poll(p, 2, known < 0 ? RETRY_MS : -1) < 0 && errno != EINTR)
            return -1;
        while (read(changes, events, sizeof events) > 0)
            ;
    }
    follow(w, &f);
    return 0;
}

int main(int argc, char **argv)
{
    struct watch_context w = {.out = -1};
    sigset_t end;
    int signals;

    if (argc != 5) {
        fprintf(stderr, "usage: watch URI DOMAIN SERIALFILE OUT\n");
        return 2;
    }
    w.uri = argv[1];
    w.domain = argv[2];
    w.serial = argv[3];
    w.out = open(argv[4], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigaddset(&end, SIGINT);
    pthread_sigmask(SIG_BLOCK, &end, NULL);
    signals = signalfd(-1, &end, SFD_CLOEXEC);
    if (w.out < 0 || signals < 0 || start_libvirt(&w) < 0 ||
        watch_file(&w, signals) < 0) {
        fprintf(stderr, "watch: %s: %s\n", argv[4], strerror(errno));
        return 1;
    }
    /* the other thread may be in the middle of a call */
    _exit(0);
}
