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

static void expect_wait(int wait, int match)
{
    cr_expect(wait <= match && wait >= match - LATE, "%d ms instead of %d",
              wait, match);
}

Test(throttle, no_limit_never_waits)
{
    struct bm_throttle *t = bm_throttle_new(0);

    for (int i = 0; i < 100; i++)
        cr_assert_eq(bm_throttle_take(t, UINT64_MAX), 0);
    bm_throttle_free(t);
    bm_throttle_free(NULL);
}

Test(throttle, a_burst_of_100_ms_is_free)
{
    struct bm_throttle *t = bm_throttle_new(10 * MIB);

    cr_expect_eq(bm_throttle_take(t, MIB), 0);
    bm_throttle_free(t);
}

Test(throttle, more_than_the_burst_is_waited_for)
{
    struct bm_throttle *t = bm_throttle_new(10 * MIB);

    expect_wait(bm_throttle_take(t, 11 * MIB), 1000);
    bm_throttle_free(t);
}

Test(throttle, debts_add_up)
{
    struct bm_throttle *t = bm_throttle_new(10 * MIB);

    (void)bm_throttle_take(t, 11 * MIB);
    expect_wait(bm_throttle_take(t, 20 * MIB), 3000);
    bm_throttle_free(t);
}

Test(throttle, what_remains_is_asked_with_no_bytes)
{
    struct bm_throttle *t = bm_throttle_new(10 * MIB);
    int wait = bm_throttle_take(t, 6 * MIB), rest;

    bm_sleep_ms(200);
    rest = bm_throttle_take(t, 0);
    cr_expect(rest <= wait - 199, "%d of %d ms", rest, wait);
    bm_sleep_ms(rest);
    cr_expect_eq(bm_throttle_take(t, 0), 0);
    bm_throttle_free(t);
}

/* An idle second is no credit of a second. */
Test(throttle, idle_time_saves_no_more_than_the_burst)
{
    struct bm_throttle *t = bm_throttle_new(10 * MIB);

    (void)bm_throttle_take(t, MIB);
    bm_sleep_ms(400);
    expect_wait(bm_throttle_take(t, 6 * MIB), 500);
    bm_throttle_free(t);
}

Test(throttle, a_higher_rate_shortens_the_debt)
{
    struct bm_throttle *t = bm_throttle_new(MIB);

    (void)bm_throttle_take(t, 100 * MIB);
    bm_throttle_set(t, 50 * MIB);
    cr_expect_eq(bm_throttle_rate(t), 50 * MIB);
    expect_wait(bm_throttle_take(t, 0), 2000);
    bm_throttle_free(t);
}

Test(throttle, a_lower_rate_makes_the_debt_longer)
{
    struct bm_throttle *t = bm_throttle_new(10 * MIB);

    (void)bm_throttle_take(t, 61 * MIB);
    bm_throttle_set(t, 5 * MIB);
    cr_expect_gt(bm_throttle_take(t, 0), 12000 - 4 * LATE);
    bm_throttle_free(t);
}

Test(throttle, no_limit_forgives_the_debt)
{
    struct bm_throttle *t = bm_throttle_new(MIB);

    (void)bm_throttle_take(t, 100 * MIB);
    bm_throttle_set(t, 0);
    cr_expect_eq(bm_throttle_take(t, MIB), 0);
    bm_throttle_set(t, MIB);
    expect_wait(bm_throttle_take(t, MIB / 20), 50);
    bm_throttle_free(t);
}

Test(throttle, a_wait_is_a_day_at_most)
{
    struct bm_throttle *t = bm_throttle_new(1);

    for (int i = 0; i < 3; i++)
        expect_wait(bm_throttle_take(t, UINT64_MAX), 86400000);
    bm_throttle_set(t, UINT64_MAX);
    cr_expect_eq(bm_throttle_take(t, 0), 0);
    bm_throttle_set(t, 1);
    (void)bm_throttle_take(t, UINT64_MAX);
    expect_wait(bm_throttle_take(t, 0), 86400000);
    bm_throttle_free(t);
}

/* What waits already goes on only when it is let go. */
Test(throttle, held_it_lets_nothing_pass)
{
    struct bm_throttle *t = bm_throttle_new(0);

    bm_throttle_hold(t, true);
    cr_expect_gt(bm_throttle_take(t, 1), 0);
    cr_expect_gt(bm_throttle_take(t, 0), 0);
    bm_throttle_set(t, 100 * MIB);
    cr_expect_gt(bm_throttle_take(t, 0), 0);
    bm_throttle_hold(t, false);
    cr_expect_eq(bm_throttle_take(t, 0), 0);
    bm_throttle_free(t);
}

static void *worker(void *throttle)
{
    for (int i = 0; i < 40; i++)
        bm_sleep_ms(bm_throttle_take(throttle, MIB / 8));
    return NULL;
}

/* 20 MiB by four threads at 20 MiB/s, of which 2 are the burst. */
Test(throttle, threads_share_the_rate)
{
    struct bm_throttle *t = bm_throttle_new(20 * MIB);
    int64_t start = bm_now_ms();
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, worker, t), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cr_expect_geq(bm_now_ms() - start, 899);
    cr_expect_lt(bm_now_ms() - start, 2500);
    bm_throttle_free(t);
}

Test(throttle, it_tells_the_largest_request)
{
    struct bm_throttle *t = bm_throttle_new(0);

    cr_expect_eq(bm_throttle_request(t), 0);
    bm_throttle_set_request(t, 4096);
    cr_expect_eq(bm_throttle_request(t), 4096);
    bm_throttle_free(t);
}

Test(throttle, it_rests_for_a_multiple_of_the_work)
{
    struct bm_throttle *t = bm_throttle_new(0);

    cr_expect_eq(bm_throttle_rest(t, 1000000, 1), 0);
    cr_expect_eq(bm_throttle_rest(t, 1000000, 8), 0);
    bm_throttle_set_rest(t, 2.5);
    cr_expect_eq(bm_throttle_rest(t, 1000000, 1), 2500000);
    bm_throttle_free(t);
}

/* Four that work for an eighth of the time each take half of it together. */
Test(throttle, workers_share_what_is_left_to_them)
{
    struct bm_throttle *t = bm_throttle_new(0);

    bm_throttle_set_rest(t, 1);
    cr_expect_eq(bm_throttle_rest(t, 1000000, 4), 7000000);
    bm_throttle_free(t);
}

/* Storage that has stalled for a second is no reason to rest for a second. */
Test(throttle, it_rests_for_20_ms_at_most)
{
    struct bm_throttle *t = bm_throttle_new(0);

    bm_throttle_set_rest(t, 10);
    cr_expect_eq(bm_throttle_rest(t, 1000000000, 1), 20000000);
    bm_throttle_free(t);
}
