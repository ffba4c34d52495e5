// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The pace against a simulated guest. */
#include "tests/unit/pace-fixture.h"

Test(control, an_idle_guest_sets_no_limit)
{
    WORLD w = world_new(2, 0);

    w.iops = 0;
    measure(&w);
    cr_expect_eq(bm_latency_rate(w.control), 0);
    cr_expect_eq(tick(&w, 20), 0);
    cr_expect_eq(state(&w).latency_us, 0);
    cr_expect_float_eq(state(&w).bound_us, 2000, 1e-6);
    bm_latency_free(NULL);
}

/* One that wakes up has the assumed baseline: 1 ms. */
Test(control, a_guest_that_wakes_up_slow_is_spared)
{
    WORLD w = world_new(2, 0);

    w.iops = 0;
    measure(&w);
    tick(&w, 4);
    w.iops = 400;
    w.harm = 100;
    cr_expect_lt(tick(&w, 4), 130);
}

Test(control, a_guest_that_does_not_suffer_sets_no_limit_soon)
{
    WORLD w = world_new(2, 0);

    measure(&w);
    cr_expect_eq(bm_latency_rate(w.control), 256 * MIB);
    cr_expect_lt(ticks_to_freedom(&w, 20), 3);
    cr_expect_eq(tick(&w, 100), 0);
}

Test(control, the_baseline_is_measured_until_there_is_enough)
{
    struct bm_latency_control *control = bm_latency_new(2, 0);
    struct bm_block_sample few = {.ms = 500, .requests = 5, .latency_us = 400};
    struct bm_block_sample many = {.ms = 500, .requests = 99, .latency_us = 9};

    for (int i = 0; i < 5; i++)
        cr_expect_not(bm_latency_measure(control, &few));
    cr_expect(bm_latency_measure(control, &few));
    bm_latency_free(control);
    control = bm_latency_new(2, 0);
    cr_expect_not(bm_latency_measure(control, &many));
    cr_expect_not(bm_latency_measure(control, &many));
    cr_expect(bm_latency_measure(control, &many));
    bm_latency_free(control);
    control = bm_latency_new(0, 0);
    cr_expect(bm_latency_measure(control, &few));
    bm_latency_free(control);
}

Test(control, the_state_tells_latency_baseline_and_bound)
{
    WORLD w = world_new(3, 0);

    w.base_us = 800;
    measure(&w);
    tick(&w, 3);
    cr_expect_float_eq(state(&w).baseline_us, 800, 1e-6);
    cr_expect_float_eq(state(&w).bound_us, 2400, 1e-6);
    cr_expect_float_eq(state(&w).latency_us, 800, 1e-6);
    cr_expect_not(state(&w).limited);
    w.base_us = 9000;
    tick(&w, 1);
    cr_expect_float_eq(state(&w).latency_us, 9000, 1e-6);
    cr_expect(state(&w).limited);
    cr_expect_not(state(&w).learned);
}

/* Microseconds of a fast disk are noise, not a baseline. */
Test(control, a_very_fast_guest_has_a_floor)
{
    WORLD w = world_new(2, 0);

    w.base_us = 40;
    measure(&w);
    w.base_us = 450;
    cr_expect_eq(tick(&w, 20), 0);
    w.base_us = 550;
    cr_expect_gt(tick(&w, 1), 0);
}

Test(control, a_slow_guest_cuts_the_rate_within_a_few_ticks)
{
    WORLD w = world_at_work(0);

    w.base_us = 20000;
    cr_expect_lt(tick(&w, 1), 120);
    cr_expect_lt(tick(&w, 1), 30);
    cr_expect_eq(tick(&w, 2), 4);
}

Test(control, it_recovers_to_no_limit)
{
    WORLD w = world_at_work(0);

    w.base_us = 20000;
    tick(&w, 4);
    w.base_us = 1000;
    cr_expect_lt(ticks_to_freedom(&w, 100), 10);
    cr_expect_eq(tick(&w, 20), 0);
}

/* Whatever the law, the guest keeps its bound and the copy most of what that
 * allows: the speed `harm`, at which the latency has doubled. */
static void expect_settled(double harm, int power, double noise, double least)
{
    WORLD w = world_new(2, 0);
    double speed = 0, latency = 0;

    w.harm = harm;
    w.power = power;
    w.noise = noise;
    measure(&w);
    tick(&w, 6);
    for (int i = 0; i < 200; i++) {
        tick(&w, 1);
        speed += w.speed / 200;
        latency += w.latency / 200;
    }
    cr_expect_lt(latency, 2000, "%g^%d ~%g: %g us", harm, power, noise,
                 latency);
    cr_expect_gt(speed, harm * least, "%g^%d ~%g: only %g MiB/s", harm, power,
                 noise, speed);
    cr_expect_lt(speed, harm, "%g^%d ~%g: %g MiB/s", harm, power, noise, speed);
}

Test(control, it_settles_near_the_bound)
{
    expect_settled(100, 1, 0, 0.85);
    expect_settled(400, 1, 0, 0.85);
    expect_settled(20, 1, 0, 0.85);
    expect_settled(100, 2, 0, 0.8);
    expect_settled(300, 4, 0, 0.8);
}

Test(control, it_settles_in_spite_of_noise)
{
    expect_settled(100, 1, 0.2, 0.78);
    expect_settled(300, 2, 0.2, 0.78);
}

/* Nearly a cliff: what did harm is tried again, but ever more seldom. */
Test(control, it_does_not_try_often_what_did_harm)
{
    WORLD w = world_new(2, 0);
    int bad = 0;

    w.harm = 200;
    w.power = 12;
    measure(&w);
    tick(&w, 20);
    for (int i = 0; i < 240; i++) {
        tick(&w, 1);
        bad += w.latency > 2000;
    }
    cr_expect_leq(bad, 12, "%d bad ticks of 240", bad);
    cr_expect_gt(w.speed, 130);
}

Test(control, a_cap_holds_in_any_case)
{
    WORLD w = world_new(2, 10 * MIB);

    measure(&w);
    cr_expect_eq(tick(&w, 20), 10);
    cr_expect_not(state(&w).limited);
    bm_latency_set(w.control, 2, MIB);
    cr_expect_eq(tick(&w, 1), 1);
    w.base_us = 50000;
    cr_expect_eq(tick(&w, 20), 1);
    bm_latency_set(w.control, 2, 0);
    w.base_us = 1000;
    cr_expect_lt(ticks_to_freedom(&w, 100), 20);
}

Test(control, off_sets_no_limit)
{
    WORLD w = world_new(0, 0);

    measure(&w);
    cr_expect_eq(bm_latency_rate(w.control), 0);
    w.harm = 1;
    cr_expect_eq(tick(&w, 20), 0);
    bm_latency_set(w.control, 0, 30 * MIB);
    cr_expect_eq(tick(&w, 1), 30);
}

Test(control, it_is_switched_on_and_off_while_it_runs)
{
    WORLD w = world_new(0, 0);

    w.harm = 50;
    measure(&w);
    tick(&w, 5);
    bm_latency_set(w.control, 2, 0);
    cr_expect_eq(bm_latency_rate(w.control), 0);
    cr_expect_lt(tick(&w, 6), 70);
    bm_latency_set(w.control, 0, 0);
    cr_expect_eq(bm_latency_rate(w.control), 0);
    cr_expect_eq(tick(&w, 5), 0);
}

Test(control, a_higher_factor_allows_more)
{
    WORLD w = world_new(2, 0);
    double two;

    w.harm = 50;
    measure(&w);
    two = tick(&w, 40);
    bm_latency_set(w.control, 5, 0);
    cr_expect_gt(tick(&w, 40), 2.5 * two);
}

Test(control, a_move_always_goes_on)
{
    WORLD w = world_new(1.01, 0);

    cr_expect_float_eq(state(&w).factor, BM_GUEST_LATENCY_MIN, 1e-9);
    w.harm = 0.1;
    measure(&w);
    for (int i = 0; i < 100; i++)
        cr_assert_geq(tick(&w, 1), 4);
}

/* It waits for its first answer since we became faster. */
Test(control, a_guest_that_is_silent_all_at_once_is_not_idle)
{
    WORLD w = world_at_work(40);
    uint64_t rate = bm_latency_rate(w.control);

    w.iops = 0;
    w.begun = 0;
    cr_expect_eq(tick(&w, 9), (double)rate / MIB);
    cr_expect_lt(ticks_to_freedom(&w, 100), 30);
}

/* The guest's own load, not ours: else a move at 4 MiB/s takes days. */
Test(control, a_guest_that_is_slow_by_itself_gets_a_new_baseline)
{
    WORLD w = world_at_work(0);

    w.base_us = 8000;
    cr_expect_lt(ticks_to_freedom(&w, 40), 25);
    cr_expect_float_eq(state(&w).baseline_us, 8000, 1e-6);
    cr_expect(state(&w).learned);
    w.base_us = 1000;
    tick(&w, 130);
    cr_expect_float_eq(state(&w).baseline_us, 1000, 1e-6);
    cr_expect_eq(tick(&w, 1), 0);
}

/* A tick of `ms` in which the copy came on by `bytes`, and the guest did this:
 * the rate afterwards. */
static uint64_t saw(struct world *w, int64_t ms, uint64_t bytes,
                    uint64_t requests, double latency_us)
{
    struct bm_block_sample sample = {
        .ms = ms, .requests = requests, .latency_us = latency_us};

    return bm_latency_tick(w->control, ms, bytes, &sample);
}

static uint64_t few(struct world *w, uint64_t requests, double latency_us)
{
    return saw(w, TICK, 250 * MIB, requests, latency_us);
}

Test(control, one_slow_request_is_not_believed)
{
    WORLD w = world_at_work(0);

    for (int i = 0; i < 20; i++)
        cr_expect_eq(few(&w, 1, 8000), 0);
}

Test(control, few_requests_are_gathered)
{
    WORLD w = world_at_work(0);

    cr_expect_eq(few(&w, 8, 2600), 0);
    cr_expect_gt(few(&w, 8, 2600), 0);
}

/* A guest that waits for its I/O cannot do much of it. */
Test(control, few_requests_that_are_very_slow_are_believed_at_once)
{
    WORLD w = world_at_work(0);

    cr_expect_leq(few(&w, 2, 200000), 100 * MIB);
    cr_expect_gt(bm_latency_rate(w.control), 0);
}

Test(control, short_ticks_are_gathered)
{
    WORLD w = world_at_work(0);

    for (int i = 0; i < 3; i++)
        cr_expect_eq(saw(&w, 100, 50 * MIB, 50, 9000), 0);
    cr_expect_gt(saw(&w, 100, 50 * MIB, 50, 9000), 0);
}

Test(control, a_guest_that_cannot_be_read_is_not_idle)
{
    WORLD w = world_at_work(40);
    uint64_t rate = bm_latency_rate(w.control);

    for (int i = 0; i < 40; i++)
        cr_expect_eq(bm_latency_tick(w.control, TICK, rate / 2, NULL), rate);
}

/* Few big requests in flight: half of the ticks see nothing moved. */
Test(control, a_copy_by_fits_and_starts_gets_faster)
{
    WORLD w = world_at_work(0);
    uint64_t rate;

    w.base_us = 20000;
    tick(&w, 4);
    rate = bm_latency_rate(w.control);
    cr_expect_eq(rate, BM_LATENCY_RATE_MIN);
    saw(&w, TICK, 8 * MIB, 100, 900);
    rate = bm_latency_rate(w.control);
    cr_expect_gt(saw(&w, TICK, 0, 100, 900), rate);
}

/* A pause of the copy teaches nothing about the speed that did harm. */
Test(control, a_copy_that_stands_still_keeps_its_rate)
{
    WORLD w = world_at_work(40);
    uint64_t rate = bm_latency_rate(w.control);

    for (int i = 0; i < 4; i++)
        cr_expect_eq(saw(&w, TICK, 0, 100, 9000), rate);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(saw(&w, TICK, 0, 100, 900), rate);
}
