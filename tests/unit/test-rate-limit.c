// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Upper bounds of waits are exact, since time can only shorten them; lower
 * bounds leave a loaded machine 300 ms between two calls. */
#include "nbd/thread/rate-limit.h"
#include "nbd/base/units.h"

#include <criterion/criterion.h>
#include <pthread.h>

#define MIB (UINT64_C(1) << 20)
#define LATE 300 /* ms */

static void expect_wait(int wait, int wanted)
{
    cr_expect(wait <= wanted && wait >= wanted - LATE, "%d ms instead of %d",
              wait, wanted);
}

Test(rate_limit, no_limit_never_waits)
{
    struct bm_rate_limit *t = bm_rate_limit_new(0);

    for (int i = 0; i < 100; i++)
        cr_assert_eq(bm_rate_limit_take(t, UINT64_MAX), 0);
    bm_rate_limit_free(t);
    bm_rate_limit_free(NULL);
}

Test(rate_limit, a_burst_of_100_ms_is_free)
{
    struct bm_rate_limit *t = bm_rate_limit_new(10 * MIB);

    cr_expect_eq(bm_rate_limit_take(t, MIB), 0);
    bm_rate_limit_free(t);
}

Test(rate_limit, more_than_the_burst_is_waited_for)
{
    struct bm_rate_limit *t = bm_rate_limit_new(10 * MIB);

    expect_wait(bm_rate_limit_take(t, 11 * MIB), 1000);
    bm_rate_limit_free(t);
}

Test(rate_limit, debts_add_up)
{
    struct bm_rate_limit *t = bm_rate_limit_new(10 * MIB);

    (void)bm_rate_limit_take(t, 11 * MIB);
    expect_wait(bm_rate_limit_take(t, 20 * MIB), 3000);
    bm_rate_limit_free(t);
}

Test(rate_limit, what_remains_is_asked_with_no_bytes)
{
    struct bm_rate_limit *t = bm_rate_limit_new(10 * MIB);
    int wait = bm_rate_limit_take(t, 6 * MIB), rest;

    bm_sleep_ms(200);
    rest = bm_rate_limit_take(t, 0);
    cr_expect(rest <= wait - 199, "%d of %d ms", rest, wait);
    bm_sleep_ms(rest);
    cr_expect_eq(bm_rate_limit_take(t, 0), 0);
    bm_rate_limit_free(t);
}

/* An idle second is no credit of a second. */
Test(rate_limit, idle_time_saves_no_more_than_the_burst)
{
    struct bm_rate_limit *t = bm_rate_limit_new(10 * MIB);

    (void)bm_rate_limit_take(t, MIB);
    bm_sleep_ms(400);
    expect_wait(bm_rate_limit_take(t, 6 * MIB), 500);
    bm_rate_limit_free(t);
}

Test(rate_limit, a_higher_rate_shortens_the_debt)
{
    struct bm_rate_limit *t = bm_rate_limit_new(MIB);

    (void)bm_rate_limit_take(t, 100 * MIB);
    bm_rate_limit_set(t, 50 * MIB);
    cr_expect_eq(bm_rate_limit_rate(t), 50 * MIB);
    expect_wait(bm_rate_limit_take(t, 0), 2000);
    bm_rate_limit_free(t);
}

Test(rate_limit, a_lower_rate_makes_the_debt_longer)
{
    struct bm_rate_limit *t = bm_rate_limit_new(10 * MIB);

    (void)bm_rate_limit_take(t, 61 * MIB);
    bm_rate_limit_set(t, 5 * MIB);
    cr_expect_gt(bm_rate_limit_take(t, 0), 12000 - 4 * LATE);
    bm_rate_limit_free(t);
}

Test(rate_limit, no_limit_forgives_the_debt)
{
    struct bm_rate_limit *t = bm_rate_limit_new(MIB);

    (void)bm_rate_limit_take(t, 100 * MIB);
    bm_rate_limit_set(t, 0);
    cr_expect_eq(bm_rate_limit_take(t, MIB), 0);
    bm_rate_limit_set(t, MIB);
    expect_wait(bm_rate_limit_take(t, MIB / 20), 50);
    bm_rate_limit_free(t);
}

Test(rate_limit, a_wait_is_a_day_at_most)
{
    struct bm_rate_limit *t = bm_rate_limit_new(1);

    for (int i = 0; i < 3; i++)
        expect_wait(bm_rate_limit_take(t, UINT64_MAX), 86400000);
    bm_rate_limit_set(t, UINT64_MAX);
    cr_expect_eq(bm_rate_limit_take(t, 0), 0);
    bm_rate_limit_set(t, 1);
    (void)bm_rate_limit_take(t, UINT64_MAX);
    expect_wait(bm_rate_limit_take(t, 0), 86400000);
    bm_rate_limit_free(t);
}

/* What waits already goes on only when it is let go. */
Test(rate_limit, held_it_lets_nothing_pass)
{
    struct bm_rate_limit *t = bm_rate_limit_new(0);

    bm_rate_limit_hold(t, true);
    cr_expect_gt(bm_rate_limit_take(t, 1), 0);
    cr_expect_gt(bm_rate_limit_take(t, 0), 0);
    bm_rate_limit_set(t, 100 * MIB);
    cr_expect_gt(bm_rate_limit_take(t, 0), 0);
    bm_rate_limit_hold(t, false);
    cr_expect_eq(bm_rate_limit_take(t, 0), 0);
    bm_rate_limit_free(t);
}

static void *worker(void *rate_limit)
{
    for (int i = 0; i < 40; i++)
        bm_sleep_ms(bm_rate_limit_take(rate_limit, MIB / 8));
    return NULL;
}

/* 20 MiB by four threads at 20 MiB/s, of which 2 are the burst. */
Test(rate_limit, threads_share_the_rate)
{
    struct bm_rate_limit *t = bm_rate_limit_new(20 * MIB);
    int64_t start = bm_now_ms();
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, worker, t), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cr_expect_geq(bm_now_ms() - start, 899);
    cr_expect_lt(bm_now_ms() - start, 2500);
    bm_rate_limit_free(t);
}

Test(rate_limit, it_tells_the_largest_request)
{
    struct bm_rate_limit *t = bm_rate_limit_new(0);

    cr_expect_eq(bm_rate_limit_request(t), 0);
    bm_rate_limit_set_request(t, 4096);
    cr_expect_eq(bm_rate_limit_request(t), 4096);
    bm_rate_limit_free(t);
}

Test(rate_limit, it_rests_for_a_multiple_of_the_work)
{
    struct bm_rate_limit *t = bm_rate_limit_new(0);

    cr_expect_eq(bm_rate_limit_rest(t, 1000000, 1), 0);
    cr_expect_eq(bm_rate_limit_rest(t, 1000000, 8), 0);
    bm_rate_limit_set_rest(t, 2.5);
    cr_expect_eq(bm_rate_limit_rest(t, 1000000, 1), 2500000);
    bm_rate_limit_free(t);
}

/* Four that work for an eighth of the time each take half of it together. */
Test(rate_limit, workers_share_what_is_left_to_them)
{
    struct bm_rate_limit *t = bm_rate_limit_new(0);

    bm_rate_limit_set_rest(t, 1);
    cr_expect_eq(bm_rate_limit_rest(t, 1000000, 4), 7000000);
    bm_rate_limit_free(t);
}

/* Storage that has stalled for a second is no reason to rest for a second. */
Test(rate_limit, it_rests_for_20_ms_at_most)
{
    struct bm_rate_limit *t = bm_rate_limit_new(0);

    bm_rate_limit_set_rest(t, 10);
    cr_expect_eq(bm_rate_limit_rest(t, 1000000000, 1), 20000000);
    bm_rate_limit_free(t);
}
