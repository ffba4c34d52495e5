// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A simulated guest, whose latency answers to the speed of the copy by a law
 * that each test chooses. No clock runs: time is the number of ticks.
 */
#ifndef TESTS_UNIT_PACE_FIXTURE_H
#define TESTS_UNIT_PACE_FIXTURE_H

#include "blockmig/control/limits.h"
#include "blockmig/run/latency-control.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define MIB (UINT64_C(1) << 20)
#define TICK 500 /* ms */

/* A machine with a guest on it, which our copy slows down. */
struct world {
    struct bm_latency_control *control;
    double base_us;  /* the guest's latency without a copy */
    double harm;     /* MiB/s of the copy at which that has doubled; 0: none */
    int power;       /* how steeply: 1 linear, 12 a cliff */
    double iops;     /* that the guest wants */
    double noise;    /* the latency's, 0.2: 20 % to and fro */
    double begun;    /* of a request, the part that is done */
    double copy_max; /* MiB/s */
    double speed;    /* MiB/s, of the last tick */
    double latency;  /* us, of the last tick */
};

static inline struct world world_new(double factor, uint64_t bandwidth)
{
    struct world w = {.control = bm_latency_new(factor, bandwidth),
                      .base_us = 1000,
                      .power = 1,
                      .iops = 400,
                      .copy_max = 550};

    cr_assert_not_null(w.control);
    srand(1);
    return w;
}

static inline void world_end(struct world *w)
{
    bm_latency_free(w->control);
}
#define WORLD __attribute__((cleanup(world_end))) struct world

/* The guest alone keeps one request in flight, so it does less when slow. */
static inline struct bm_block_sample live(struct world *w, double speed,
                                          int64_t ms)
{
    double wobble = w->noise * (2.0 * rand() / RAND_MAX - 1);
    double slow = w->harm > 0 ? 1 : 0, iops;

    for (int i = 0; w->harm > 0 && i < w->power; i++)
        slow *= speed / w->harm;
    w->latency = w->base_us * (1 + slow) * (1 + wobble);
    iops = w->iops < 1e6 / w->latency ? w->iops : 1e6 / w->latency;
    w->begun = w->begun - (double)(uint64_t)w->begun + iops * (double)ms / 1000;
    return (struct bm_block_sample){
        .ms = ms,
        .requests = (uint64_t)w->begun,
        .latency_us = w->latency,
    };
}

static inline void measure(struct world *w)
{
    struct bm_block_sample sample;

    do
        sample = live(w, 0, TICK);
    while (!bm_latency_measure(w->control, &sample));
}

/* Ticks on; the rate at the end, in MiB/s. */
static inline double tick(struct world *w, int n)
{
    uint64_t rate = bm_latency_rate(w->control);

    while (n-- > 0) {
        struct bm_block_sample sample;

        w->speed = w->copy_max;
        if (rate && (double)rate / MIB < w->speed)
            w->speed = (double)rate / MIB;
        sample = live(w, w->speed, TICK);
        rate =
            bm_latency_tick(w->control, TICK,
                            (uint64_t)(w->speed * MIB * TICK / 1000), &sample);
    }
    return (double)rate / MIB;
}

/* A copy has run for a while, at factor 2. */
static inline struct world world_at_work(double harm)
{
    struct world w = world_new(2, 0);

    w.harm = harm;
    measure(&w);
    tick(&w, 40);
    return w;
}

static inline struct bm_latency_state state(const struct world *w)
{
    struct bm_latency_state said;

    bm_latency_read_state(w->control, &said);
    return said;
}

/* How many ticks until there is no limit, `most` if there still is one. */
static inline int ticks_to_freedom(struct world *w, int most)
{
    for (int i = 0; i < most; i++)
        if (tick(w, 1) == 0)
            return i;
    return most;
}

#endif
