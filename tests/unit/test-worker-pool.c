// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Workers wait for what they need, not for a time: one that is not woken is
 * ended by the suite's timeout. */
#include "nbd/base/cleanup.h"
#include "nbd/thread/worker-pool.h"

#include <criterion/criterion.h>
#include <errno.h>

#define N 4

static struct bm_crew crew;
static struct bm_error err = BM_ERROR_INIT;
static unsigned seen[BM_CREW_MAX]; /* by the crew's mutex, as what follows */
static unsigned arrived, woken, ticks;

TestSuite(crew, .timeout = 20);

static void wait_for_stop(void)
{
    BM_LOCK(&crew.mutex);
    while (!bm_crew_stopped(&crew))
        pthread_cond_wait(&crew.changed, &crew.mutex);
    woken++;
}

/* Ends when the n-th tick has come, also of a crew that has stopped. */
static void wait_for_tick(unsigned n)
{
    BM_LOCK(&crew.mutex);
    while (ticks < n)
        pthread_cond_wait(&crew.changed, &crew.mutex);
}

static int count_tick(void *opaque, struct bm_error *e)
{
    BM_LOCK(&crew.mutex);
    ticks++;
    pthread_cond_broadcast(&crew.changed);
    return 0;
}

/* --- workers --- */

static int arrive(void *opaque, unsigned number, struct bm_error *e)
{
    BM_LOCK(&crew.mutex);
    seen[number]++;
    arrived++;
    return 0;
}

static int meet(void *opaque, unsigned number, struct bm_error *e)
{
    (void)arrive(opaque, number, e);
    BM_LOCK(&crew.mutex);
    pthread_cond_broadcast(&crew.changed);
    while (arrived < N)
        pthread_cond_wait(&crew.changed, &crew.mutex);
    return 0;
}

Test(crew, all_work_at_once)
{
    crew.work = meet;
    cr_expect_eq(bm_crew_run(&crew, N, &err), 0);
    for (unsigned i = 0; i < N; i++)
        cr_expect_eq(seen[i], 1);
}

Test(crew, more_than_fit_are_as_many_as_fit)
{
    crew.work = arrive;
    cr_expect_eq(bm_crew_run(&crew, 1000, &err), 0);
    cr_expect_eq(arrived, BM_CREW_MAX);
}

Test(crew, nobody_is_an_error)
{
    crew.work = arrive;
    cr_expect_eq(bm_crew_run(&crew, 0, &err), -EINVAL);
    cr_expect_neq(err.what[0], '\0');
}

/* --- errors --- */

static int fail_first(void *opaque, unsigned number, struct bm_error *e)
{
    if (number == 0) {
        bm_fail(e, ENOSPC, "the first");
        return bm_status(e, BM_EXIT_PROOF);
    }
    wait_for_stop();
    return bm_fail(e, EIO, "a consequence");
}

Test(crew, first_error_wins)
{
    crew.work = fail_first;
    cr_expect_eq(bm_crew_run(&crew, N, &err), -ENOSPC);
    cr_expect_eq(err.code, ENOSPC);
    cr_expect_eq(err.status, BM_EXIT_PROOF);
    cr_expect_str_eq(err.what, "the first");
}

static int fail_last(void *opaque, unsigned number, struct bm_error *e)
{
    if (number == N - 1)
        return bm_fail(e, ENOSPC, "the only one");
    wait_for_stop();
    return 0;
}

Test(crew, failure_stops_the_others)
{
    crew.work = fail_last;
    cr_expect_eq(bm_crew_run(&crew, N, &err), -ENOSPC);
    cr_expect_eq(woken, N - 1);
}

static int fail_wordless(void *opaque, unsigned number, struct bm_error *e)
{
    return -1;
}

Test(crew, error_without_a_code_is_no_success)
{
    crew.work = fail_wordless;
    cr_expect_eq(bm_crew_run(&crew, N, &err), -EIO);
    cr_expect_eq(err.code, EIO);
    cr_expect_neq(err.what[0], '\0');
    cr_expect_eq(bm_crew_run(&crew, N, NULL), -EIO);
}

/* --- ticks --- */

static int until_stopped(void *opaque, unsigned number, struct bm_error *e)
{
    wait_for_stop();
    return 0;
}

static int two_ticks(void *opaque, unsigned number, struct bm_error *e)
{
    wait_for_tick(2);
    return 0;
}

Test(crew, ticks_while_it_works)
{
    crew.work = two_ticks;
    crew.tick = count_tick;
    cr_expect_eq(bm_crew_run(&crew, N, &err), 0);
    cr_expect_geq(ticks, 2);
}

static int cancel(void *opaque, struct bm_error *e)
{
    return bm_fail_errno(e, ECANCELED, "no more of %s", (char *)opaque);
}

Test(crew, tick_cancels)
{
    char opaque[] = "this";

    crew.work = until_stopped;
    crew.tick = cancel;
    crew.opaque = opaque;
    cr_expect_eq(bm_crew_run(&crew, N, &err), -ECANCELED);
    cr_expect_eq(woken, N);
    cr_expect_str_eq(err.what, "no more of this");
}

static int cancel_wordless(void *opaque, struct bm_error *e)
{
    return 1;
}

Test(crew, tick_cancels_without_words)
{
    crew.work = until_stopped;
    crew.tick = cancel_wordless;
    cr_expect_eq(bm_crew_run(&crew, N, &err), -ECANCELED);
    cr_expect_eq(err.code, ECANCELED);
}

static int fail_or_linger(void *opaque, unsigned number, struct bm_error *e)
{
    if (number == 0)
        return bm_fail(e, ENOSPC, "the first");
    wait_for_stop();
    wait_for_tick(1);
    return 0;
}

static int cancel_late(void *opaque, struct bm_error *e)
{
    if (!bm_crew_stopped(&crew))
        return 0;
    (void)count_tick(opaque, e);
    return bm_fail_errno(e, ECANCELED, "too late");
}

Test(crew, cancel_after_an_error_is_too_late)
{
    crew.work = fail_or_linger;
    crew.tick = cancel_late;
    cr_expect_eq(bm_crew_run(&crew, N, &err), -ENOSPC);
    cr_expect_geq(ticks, 1);
    cr_expect_str_eq(err.what, "the first");
}
