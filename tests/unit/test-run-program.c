// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/exec/run-program.h"
#include "nbd/exec/spawn.h"
#include "nbd/base/units.h"
#include "tests/unit/fixture.h"
#include "tests/unit/fork-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

static int run_shell(const char *script, int timeout_ms, char **out,
                     struct bm_error *err)
{
    const char *argv[] = {"sh", "-c", script, NULL};

    return bm_child_run(argv, timeout_ms, NULL, NULL, NULL, out, err);
}

static void says(const char *script, const char *expected)
{
    struct bm_error err = BM_ERROR_INIT;
    char *out = NULL;

    ok(run_shell(script, 5000, &out, &err), err);
    cr_expect_str_eq(out, expected);
    free(out);
}

Test(child, gives_its_whole_output)
{
    says("printf 'a\\nb'", "a\nb");
    says("seq 20000 | sha256sum",
         "f6351f5ead9a700e34275480b3856ea738122a7c57bdeb744a631251c069587a"
         "  -\n");
    says(":", "");
}

Test(child, speaks_c_whatever_our_locale)
{
    setenv("LC_ALL", "de_DE.UTF-8", 1);
    setenv("LANGUAGE", "de", 1);
    says("echo $LC_ALL$LANGUAGE", "C\n");
}

Test(child, has_an_empty_standard_input)
{
    says("cat", "");
}

Test(child, inherits_no_descriptor_of_ours)
{
    cr_assert_geq(open("/dev/null", O_RDONLY), 3); /* not O_CLOEXEC */
    says("ls /proc/self/fd | wc -l", "4\n");       /* 0, 1, 2 and that of ls */
}

Test(child, failure_tells_the_last_words)
{
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(
        run_shell("echo one >&2; echo two >&2; exit 3", 5000, NULL, &err),
        -EIO);
    cr_assert_str_eq(err.cause, "two");
    cr_assert(strstr(err.what, "status 3"));
}

Test(child, exit_status_is_for_the_caller_who_asks)
{
    const char *argv[] = {"sh", "-c", "exit 63", NULL};
    struct bm_error err = BM_ERROR_INIT;
    int status = 0;

    ok(bm_child_run(argv, 5000, NULL, NULL, &status, NULL, &err), err);
    cr_assert_eq(status, 63);
}

Test(child, missing_program_is_an_error)
{
    const char *argv[] = {"no-such-program", NULL};
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(bm_child_run(argv, 5000, NULL, NULL, NULL, NULL, &err),
                 -ENOENT);
}

Test(child, is_killed_at_the_deadline)
{
    struct bm_error err = BM_ERROR_INIT;
    int64_t start = bm_now_ms();

    cr_assert_eq(run_shell("sleep 60; :", 100, NULL, &err), -ETIMEDOUT);
    cr_assert_lt(bm_now_ms() - start, 2000);
}

Test(child, killed_by_a_signal_is_a_failure)
{
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(run_shell("kill -9 $$", 5000, NULL, &err), -EIO);
    cr_assert(strstr(err.cause, "signal 9"));
}

static int collect(void *opaque, const char *line)
{
    char *all = opaque;

    if (line)
        strcat(strcat(all, line), "|");
    return 0;
}

Test(child, lines_end_with_either_return)
{
    const char *argv[] = {
        "sh", "-c",
        "printf 'a\\r'; sleep 0.05; printf 'b\\n'; sleep 0.05; printf c", NULL};
    struct bm_error err = BM_ERROR_INIT;
    char all[64] = "";

    ok(bm_child_run(argv, 0, collect, all, NULL, NULL, &err), err);
    cr_assert_str_eq(all, "a|b|");
}

static int stop_at_tick(void *opaque, const char *line)
{
    return 1;
}

Test(child, tick_cancels)
{
    const char *argv[] = {"sleep", "60", NULL};
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(bm_child_run(argv, 0, stop_at_tick, NULL, NULL, NULL, &err),
                 -ECANCELED);
}

static void *spawn_sleeper(void *opaque)
{
    const char *argv[] = {"sleep", "60", NULL};
    struct bm_spawn how = {.argv = argv, .out = -1, .errs = -1, .listener = -1};

    cr_assert_eq(bm_spawn_program(&how, opaque, NULL), 0);
    return NULL;
}

Test(child, outlives_the_thread_that_asked_for_it)
{
    struct bm_process process = BM_PROCESS_INIT;
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, spawn_sleeper, &process), 0);
    pthread_join(thread, NULL);
    cr_assert_not(bm_process_ended(&process, 100));
    bm_process_end(&process, 0);
    cr_assert_eq(process.pid, 0);
}

/* Says the pid of a child of its own, and waits to be killed. */
static void parent_main(int report)
{
    struct bm_process process = BM_PROCESS_INIT;

    spawn_sleeper(&process);
    cr_assert_eq(write(report, &process.pid, sizeof process.pid),
                 (ssize_t)sizeof process.pid);
    pause();
    _exit(0);
}

Test(child, dies_with_us_even_by_kill_9)
{
    struct bm_process ours = BM_PROCESS_INIT;
    int ends[2], status;
    pid_t parent, child = 0;

    spawn_sleeper(&ours); /* so that a fork inherits a forker at work */
    cr_assert_eq(pipe(ends), 0);
    parent = fork_bound();
    if (parent == 0)
        parent_main(ends[1]);
    cr_assert_eq(read(ends[0], &child, sizeof child), (ssize_t)sizeof child);
    kill(parent, SIGKILL);
    cr_assert_eq(waitpid(parent, &status, 0), parent);
    for (int i = 0; i < 200 && kill(child, 0) == 0; i++) {
        char state[64];

        snprintf(state, sizeof state, "grep -q '^State:.Z' /proc/%d/status",
                 child); /* a container's init may not reap it */
        if (fixture_status("%s 2>/dev/null", state) == 0)
            break;
        bm_sleep_ms(10);
        cr_assert_lt(i, 199, "child %d lives on", child);
    }
    bm_process_end(&ours, 0);
}
