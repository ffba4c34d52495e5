// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The control socket of a running job. */
#include "blockmig/control/control-server.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "tests/unit/fork-fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define ID "12345678"

static char dir[64];

static void set_up(void)
{
    strcpy(dir, "/tmp/bm-control-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static void tear_down(void)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(control, .init = set_up, .fini = tear_down);

static struct bm_control *start(const char *where)
{
    struct bm_control *control = NULL;
    struct bm_error err = BM_ERROR_INIT;
    int rc = bm_control_start(where, ID, &control, &err);

    cr_assert_eq(rc, 0, "%s: %s", err.what, err.cause);
    return control;
}

static void expect(const char *where, const char *line, const char *wanted)
{
    BM_FREE char *answer = NULL;
    struct bm_error err = BM_ERROR_INIT;
    int rc = bm_control_ask(where, ID, line, &answer, &err);

    cr_assert_eq(rc, 0, "%s: %s", err.what, err.cause);
    cr_assert_str_eq(answer, wanted);
}

static void expect_nobody(const char *where)
{
    char *answer = NULL;
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(bm_control_ask(where, ID, "status", &answer, &err), -ENOENT);
    cr_assert_null(answer);
}

static void socket_path(char *path, size_t size, const char *where)
{
    snprintf(path, size, "%s/" ID ".sock", where);
}

Test(control, status_and_cancel)
{
    struct bm_control *control = start(dir);
    char path[PATH_MAX];
    struct stat st;

    socket_path(path, sizeof path, dir);
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
    expect(dir, "status", "{}");
    bm_control_publish(control, "{\"a\":1}");
    expect(dir, "status", "{\"a\":1}");
    expect(dir, "nonsense", "unknown");
    cr_assert_not(bm_control_cancelled(control));
    expect(dir, "cancel", "ok");
    cr_assert(bm_control_cancelled(control));
    bm_control_stop(control);
    cr_assert_eq(stat(path, &st), -1);
    expect_nobody(dir);
}

Test(control, pause_and_resume)
{
    struct bm_control *control = start(dir);

    cr_expect_not(bm_control_paused(control));
    expect(dir, "resume", "not paused");
    expect(dir, "pause", "ok");
    cr_expect(bm_control_paused(control));
    expect(dir, "resume", "ok");
    cr_expect_not(bm_control_paused(control));
    bm_control_stop(control);
}

/* What was set twice before anybody looked: the later one counts. */
Test(control, limits)
{
    struct bm_control *control = start(dir);
    struct bm_limits got;

    cr_expect_not(bm_control_limits(control, &got));
    expect(dir, "set bandwidth=5 settle=7", "ok");
    expect(dir, "set bandwidth=6", "ok");
    expect(dir, "set bandwidth=x", "unknown");
    cr_assert(bm_control_limits(control, &got));
    cr_expect_eq(got.parts, BM_LIMIT_BANDWIDTH | BM_LIMIT_SETTLE);
    cr_expect_eq(got.bandwidth, 6);
    cr_expect_eq(got.settle_ms, 7);
    cr_expect_not(bm_control_limits(control, &got), "they are taken once");
    bm_control_stop(control);
}

Test(control, nobody_there)
{
    char *answer = NULL;

    expect_nobody(dir);
    expect_nobody("/nonexistent");
    cr_assert_eq(bm_control_ask(dir, "../../etc", "status", &answer, NULL),
                 -EINVAL);
    bm_control_stop(NULL);
}

/* A path of 200 characters does not fit into a socket's address. */
Test(control, long_folder)
{
    struct bm_control *control;
    char path[PATH_MAX];

    strcpy(path, dir);
    for (int i = 0; i < 8; i++) {
        strcat(path, "/abcdefghijklmnopqrstuvw");
        cr_assert_eq(mkdir(path, 0700), 0);
    }
    control = start(path);
    bm_control_publish(control, "{\"long\":true}");
    expect(path, "status", "{\"long\":true}");
    bm_control_stop(control);
    expect_nobody(path);
}

/* The socket of a process that was killed is in the way of nobody. */
Test(control, stale_socket)
{
    struct bm_control *control;
    pid_t pid = fork_bound();
    int status;

    if (pid == 0)
        _exit(bm_control_start(dir, ID, &control, NULL) == 0 ? 0 : 1);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    expect_nobody(dir);
    control = start(dir);
    expect(dir, "status", "{}");
    bm_control_stop(control);
}

static int connect_raw(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    socket_path(un.sun_path, sizeof un.sun_path, dir);
    cr_assert_eq(connect(fd, (struct sockaddr *)&un, sizeof un), 0);
    return fd;
}

/* One that says nothing, one that never ends its line, one that goes. */
Test(control, bad_clients)
{
    struct bm_control *control = start(dir);
    int64_t begun = bm_now_ms();
    int silent = connect_raw(), endless = connect_raw(), gone = connect_raw();

    for (int i = 0; i < 100; i++)
        cr_assert_eq(send(endless, "x", 1, MSG_NOSIGNAL), 1);
    close(gone);
    expect(dir, "status", "{}");
    cr_assert_lt(bm_now_ms() - begun, 4000);
    close(silent);
    close(endless);
    bm_control_stop(control);
}

Test(control, long_answer)
{
    struct bm_control *control = start(dir);
    BM_FREE char *json = malloc(500001);

    memset(json, 'x', 500000);
    json[500000] = '\0';
    bm_control_publish(control, json);
    expect(dir, "status", json);
    bm_control_stop(control);
}

/* As root only: anybody else is sent away, even where the mode lets him in. */
Test(control, foreign_user)
{
    struct bm_control *control;
    char path[PATH_MAX];
    int status;
    pid_t pid;

    if (geteuid() != 0)
        cr_skip_test("needs root");
    control = start(dir);
    socket_path(path, sizeof path, dir);
    cr_assert_eq(chmod(dir, 0755), 0);
    cr_assert_eq(chmod(path, 0666), 0);
    pid = fork_bound();
    if (pid == 0) {
        char *answer = NULL;

        if (setuid(65534) != 0)
            _exit(2);
        _exit(bm_control_ask(dir, ID, "cancel", &answer, NULL) < 0 ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_assert_not(bm_control_cancelled(control));
    bm_control_stop(control);
}
