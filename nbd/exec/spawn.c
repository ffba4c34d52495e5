// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/exec/spawn.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Descriptors are moved up here, so that dup2 onto 0..3 never hits one. */
#define SAFE_FD 10
#define PID_DIGITS 10

/* All that the child needs, made before the fork: after it malloc, and all
 * else that takes locks, is off limits. */
struct request {
    char *const *argv;
    char **envp;
    char *pid_digits; /* where the child writes its own pid, or NULL */
    int out, errs, listener;
    int report; /* the child's errno goes here when it cannot exec */
    pid_t parent;
    pid_t child; /* the answer: a pid or a negative errno */
    bool done;
};

/* The forking thread. mutex guards all of it. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct request *request;
    bool running, busy;
} forker = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, false,
            false};

static void write_own_pid(char *digits)
{
    pid_t pid = getpid();

    for (int i = PID_DIGITS - 1; i >= 0; i--, pid /= 10)
        digits[i] = (char)('0' + pid % 10);
}

static void default_signals(void)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        (void)sigaction(i, &dfl, NULL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void close_on_exec_from(unsigned first)
{
    struct rlimit files;

    if (close_range(first, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        files.rlim_cur = 1024;
    for (rlim_t fd = first; fd < files.rlim_cur; fd++)
        (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
}

static int set_fd(int from, int to)
{
    int null = -1;

    if (from < 0)
        from = null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (from < 0)
        return -1;
    if (from == to) /* only when `to` was closed: open found it */
        return fcntl(to, F_SETFD, 0);
    if (dup2(from, to) < 0)
        return -1;
    return null < 0 ? 0 : close(null);
}

/* In the child: only async-signal-safe calls. */
static int become(const struct request *r)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return -1;
    if (getppid() != r->parent) { /* it died before the line above */
        errno = ESRCH;
        return -1;
    }
    (void)setpgid(0, 0);
    default_signals();
    if (set_fd(-1, 0) != 0 || set_fd(r->out, 1) != 0 || set_fd(r->errs, 2) != 0)
        return -1;
    if (r->listener >= 0 && set_fd(r->listener, 3) != 0)
        return -1;
    close_on_exec_from(r->listener >= 0 ? 4 : 3);
    if (r->pid_digits)
        write_own_pid(r->pid_digits);
    return execvpe(r->argv[0], r->argv, r->envp);
}

static void fork_one(struct request *r)
{
    r->parent = getpid();
    r->child = fork();
    if (r->child < 0)
        r->child = -errno;
    if (r->child != 0)
        return;
    (void)become(r);
    int code = errno;
    (void)!write(r->report, &code, sizeof code);
    _exit(127);
}

static void *forker_main(void *unused)
{
    BM_LOCK(&forker.mutex);
    for (;;) {
        while (!forker.request)
            pthread_cond_wait(&forker.changed, &forker.mutex);
        fork_one(forker.request);
        forker.request->done = true;
        forker.request = NULL;
        pthread_cond_broadcast(&forker.changed);
    }
    return unused;
}

/* A forked child of ours (a guard, a detached job) has no such thread. */
static void forget_forker(void)
{
    pthread_mutex_init(&forker.mutex, NULL);
    pthread_cond_init(&forker.changed, NULL);
    forker.request = NULL;
    forker.running = forker.busy = false;
}

static void lock_forker(void)
{
    pthread_mutex_lock(&forker.mutex);
}

static void unlock_forker(void)
{
    pthread_mutex_unlock(&forker.mutex);
}

static int register_atfork(void)
{
    static bool registered; /* guarded by forker.mutex */

    if (!registered && pthread_atfork(NULL, NULL, forget_forker) != 0)
        return -ENOMEM;
    registered = true;
    return 0;
}

/* Called with the mutex held. */
static int start_forker(void)
{
    pthread_t thread;
    sigset_t all, before;
    int rc;

    if (forker.running)
        return 0;
    rc = register_atfork();
    if (rc != 0)
        return rc;
    sigfillset(&all); /* signals are for the threads that expect them */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, NULL, forker_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return -rc;
    pthread_detach(thread);
    forker.running = true;
    return 0;
}

static int hand_over(struct request *r)
{
    int rc;

    lock_forker();
    rc = start_forker();
    while (rc == 0 && forker.busy)
        pthread_cond_wait(&forker.changed, &forker.mutex);
    if (rc == 0) {
        forker.busy = true;
        forker.request = r;
        pthread_cond_broadcast(&forker.changed);
        while (!r->done)
            pthread_cond_wait(&forker.changed, &forker.mutex);
        forker.busy = false;
        pthread_cond_broadcast(&forker.changed);
        rc = r->child < 0 ? r->child : 0;
    }
    unlock_forker();
    return rc;
}

static bool is_ours(const char *variable)
{
    static const char *const names[] = {"LC_ALL=", "LANGUAGE=", "LISTEN_PID=",
                                        "LISTEN_FDS=", "LISTEN_FDNAMES="};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* Our environment in the C locale; strings are borrowed. */
static char **make_environment(char *listen_pid)
{
    static char locale[] = "LC_ALL=C", fds[] = "LISTEN_FDS=1";
    size_t n = 0, used = 0;
    char **envp;

    while (environ && environ[n])
        n++;
    envp = calloc(n + 4, sizeof *envp);
    if (!envp)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (!is_ours(environ[i]))
            envp[used++] = environ[i];
    envp[used++] = locale;
    if (listen_pid) {
        envp[used++] = fds;
        envp[used++] = listen_pid;
    }
    return envp;
}

static int move_up(int fd, int *out)
{
    if (fd < 0)
        return 0;
    *out = fcntl(fd, F_DUPFD_CLOEXEC, SAFE_FD);
    return *out < 0 ? -errno : 0;
}

/* Nothing in the pipe means that exec closed it: the program runs. */
static int exec_result(int report)
{
    int code = 0;
    ssize_t got;

    do
        got = read(report, &code, sizeof code);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof code ? -code : 0;
}

static int fork_and_exec(struct request *r, struct bm_process *out)
{
    BM_CLOSE int report = -1;
    int ends[2], rc;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    report = ends[0];
    rc = move_up(ends[1], &r->report);
    (void)close(ends[1]);
    if (rc == 0)
        rc = hand_over(r);
    if (r->report >= 0)
        (void)close(r->report);
    if (rc != 0)
        return rc;
    out->pid = r->child;
    rc = exec_result(report);
    if (rc == 0)
        out->pidfd = (int)syscall(SYS_pidfd_open, out->pid, 0);
    if (rc == 0 && out->pidfd < 0)
        rc = -errno;
    if (rc != 0)
        bm_process_end(out, 0);
    return rc;
}

int bm_spawn_program(const struct bm_spawn *how, struct bm_process *out,
                     struct bm_error *err)
{
    char listen_pid[] = "LISTEN_PID=0000000000";
    bool listens = how->listener >= 0;
    BM_FREE char **envp = make_environment(listens ? listen_pid : NULL);
    BM_CLOSE int outs = -1, errs = -1, listener = -1;
    int rc = envp ? 0 : -ENOMEM;

    if (rc == 0)
        rc = move_up(how->out, &outs);
    if (rc == 0)
        rc = move_up(how->errs, &errs);
    if (rc == 0)
        rc = move_up(how->listener, &listener);
    if (rc == 0) {
        struct request r = {
            .argv = (char *const *)(uintptr_t)how->argv,
            .envp = envp,
            .pid_digits = listens ? strchr(listen_pid, '=') + 1 : NULL,
            .out = outs,
            .errs = errs,
            .listener = listener,
            .report = -1,
        };

        rc = fork_and_exec(&r, out);
    }
    if (rc != 0)
        return bm_fail_errno(err, -rc, "cannot run %s", how->argv[0]);
    return 0;
}

bool bm_process_ended(const struct bm_process *process, int timeout_ms)
{
    struct pollfd pfd = {process->pidfd, POLLIN, 0};
    int64_t end = bm_now_ms() + timeout_ms, left;
    int rc;

    do {
        left = end - bm_now_ms();
        rc = poll(&pfd, 1, left > 0 ? (int)left : 0);
    } while (rc < 0 && errno == EINTR);
    return rc > 0;
}

int bm_process_reap(struct bm_process *process)
{
    int status = 0;

    while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (process->pidfd >= 0)
        (void)close(process->pidfd);
    process->pid = 0;
    process->pidfd = -1;
    return status;
}

void bm_process_end(struct bm_process *process, int grace_ms)
{
    if (process->pid <= 0)
        return;
    if (grace_ms > 0 && process->pidfd >= 0) {
        (void)kill(-process->pid, SIGTERM);
        if (bm_process_ended(process, grace_ms)) {
            (void)bm_process_reap(process);
            return;
        }
    }
    (void)kill(process->pid, SIGKILL);
    (void)kill(-process->pid, SIGKILL);
    (void)bm_process_reap(process);
}
