// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Workers wait for what they need, not for a time: one that is not woken is
 * ended by the suite's timeout. */
#include "nbd/base/cleanup.h"
#include "nbd/thread/worker-pool.h"

#include <criterion/criterion.h>
#include <errno.h>

#define N 4

static struct bm_worker_pool pool;
static struct bm_error err = BM_ERROR_INIT;
static unsigned
    seen[BM_WORKER_POOL_MAX]; /* by the worker pool's mutex, as what follows */
static unsigned arrived, woken, ticks;

TestSuite(pool, .timeout = 20);

static void wait_for_stop(void)
{
    BM_LOCK(&pool.mutex);
    while (!bm_worker_pool_stopped(&pool))
        pthread_cond_wait(&pool.changed, &pool.mutex);
    woken++;
}

/* Ends when the n-th tick has come, also of a worker pool that has stopped. */
static void wait_for_tick(unsigned n)
{
    BM_LOCK(&pool.mutex);
    while (ticks < n)
        pthread_cond_wait(&pool.changed, &pool.mutex);
}

static int count_tick(void *opaque, struct bm_error *e)
{
    BM_LOCK(&pool.mutex);
    ticks++;
    pthread_cond_broadcast(&pool.changed);
    return 0;
}

/* --- workers --- */

static int arrive(void *opaque, unsigned number, struct bm_error *e)
{
    BM_LOCK(&pool.mutex);
    seen[number]++;
    arrived++;
    return 0;
}

static int meet(void *opaque, unsigned number, struct bm_error *e)
{
    (void)arrive(opaque, number, e);
    BM_LOCK(&pool.mutex);
    pthread_cond_broadcast(&pool.changed);
    while (arrived < N)
        pthread_cond_wait(&pool.changed, &pool.mutex);
    return 0;
}

Test(pool, all_work_at_once)
{
    pool.work = meet;
    cr_expect_eq(bm_worker_pool_run(&pool, N, &err), 0);
    for (unsigned i = 0; i < N; i++)
        cr_expect_eq(seen[i], 1);
}

Test(pool, more_than_fit_are_as_many_as_fit)
{
    pool.work = arrive;
    cr_expect_eq(bm_worker_pool_run(&pool, 1000, &err), 0);
    cr_expect_eq(arrived, BM_WORKER_POOL_MAX);
}

Test(pool, nobody_is_an_error)
{
    pool.work = arrive;
    cr_expect_eq(bm_worker_pool_run(&pool, 0, &err), -EINVAL);
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

Test(pool, first_error_wins)
{
    pool.work = fail_first;
    cr_expect_eq(bm_worker_pool_run(&pool, N, &err), -ENOSPC);
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

Test(pool, failure_stops_the_others)
{
    pool.work = fail_last;
    cr_expect_eq(bm_worker_pool_run(&pool, N, &err), -ENOSPC);
    cr_expect_eq(woken, N - 1);
}

static int fail_wordless(void *opaque, unsigned number, struct bm_error *e)
{
    return -1;
}

Test(pool, error_without_a_code_is_no_success)
{
    pool.work = fail_wordless;
    cr_expect_eq(bm_worker_pool_run(&pool, N, &err), -EIO);
    cr_expect_eq(err.code, EIO);
    cr_expect_neq(err.what[0], '\0');
    cr_expect_eq(bm_worker_pool_run(&pool, N, NULL), -EIO);
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

Test(pool, ticks_while_it_works)
{
    pool.work = two_ticks;
    pool.tick = count_tick;
    cr_expect_eq(bm_worker_pool_run(&pool, N, &err), 0);
    cr_expect_geq(ticks, 2);
}

static int cancel(void *opaque, struct bm_error *e)
{
    return bm_fail_errno(e, ECANCELED, "no more of %s", (char *)opaque);
}

Test(pool, tick_cancels)
{
    char opaque[] = "this";

    pool.work = until_stopped;
    pool.tick = cancel;
    pool.opaque = opaque;
    cr_expect_eq(bm_worker_pool_run(&pool, N, &err), -ECANCELED);
    cr_expect_eq(woken, N);
    cr_expect_str_eq(err.what, "no more of this");
}

static int cancel_wordless(void *opaque, struct bm_error *e)
{
    return 1;
}

Test(pool, tick_cancels_without_words)
{
    pool.work = until_stopped;
    pool.tick = cancel_wordless;
    cr_expect_eq(bm_worker_pool_run(&pool, N, &err), -ECANCELED);
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
    if (!bm_worker_pool_stopped(&pool))
        return 0;
    (void)count_tick(opaque, e);
    return bm_fail_errno(e, ECANCELED, "too late");
}

Test(pool, cancel_after_an_error_is_too_late)
{
    pool.work = fail_or_linger;
    pool.tick = cancel_late;
    cr_expect_eq(bm_worker_pool_run(&pool, N, &err), -ENOSPC);
    cr_expect_geq(ticks, 1);
    cr_expect_str_eq(err.what, "the first");
}
