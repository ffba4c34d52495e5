// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Limits as a line, in a job, and for people. */
#include "blockmig/control/limits.h"

#include <criterion/criterion.h>
#include <errno.h>

static const struct bm_limits all = {
    .parts = BM_LIMIT_BANDWIDTH | BM_LIMIT_GUEST_LATENCY | BM_LIMIT_SWITCH_MAX |
             BM_LIMIT_SETTLE | BM_LIMIT_MAX_PAUSE,
    .bandwidth = INT64_MAX,
    .guest_latency = 1.25,
    .switch_max = INT64_MAX,
    .settle_ms = INT64_MAX,
    .max_pause_ms = 60000,
};

static void expect_all(const struct bm_limits *got)
{
    cr_expect_eq(got->parts, all.parts);
    cr_expect_eq(got->bandwidth, all.bandwidth);
    cr_expect_eq(got->guest_latency, all.guest_latency);
    cr_expect_eq(got->switch_max, all.switch_max);
    cr_expect_eq(got->settle_ms, all.settle_ms);
    cr_expect_eq(got->max_pause_ms, all.max_pause_ms);
}

Test(limits, the_longest_line_reads_back)
{
    char line[BM_LIMITS_LINE];
    struct bm_limits got;

    bm_limits_line(&all, line);
    cr_assert_lt(strlen(line), sizeof line - 1);
    cr_assert_eq(bm_limits_parse(line, &got), 0, "%s", line);
    expect_all(&got);
}

Test(limits, zero_is_none_and_off)
{
    struct bm_limits got;

    cr_assert_eq(bm_limits_parse("set bandwidth=0 guest-latency=0", &got), 0);
    cr_expect_eq(got.parts, BM_LIMIT_BANDWIDTH | BM_LIMIT_GUEST_LATENCY);
    cr_expect_eq(got.bandwidth, 0);
    cr_expect_eq(got.guest_latency, 0);
}

Test(limits, what_is_no_such_line)
{
    static const char *const lines[] = {"",
                                        "set",
                                        "sets bandwidth=1",
                                        "set bandwidth",
                                        "set bandwidth=",
                                        "set bandwidth=-1",
                                        "set bandwidth=1K",
                                        "set guest-latency=0.5",
                                        "set guest-latency=nan",
                                        "set guest-latency=1e9",
                                        "set max-pause=0",
                                        "set pace=1",
                                        "set bandwidth=1 x"};
    struct bm_limits got;

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        cr_expect_eq(bm_limits_parse(lines[i], &got), -EINVAL, "%s", lines[i]);
}

Test(limits, a_job_takes_what_was_given_only)
{
    const struct bm_limits rate = {.parts = BM_LIMIT_BANDWIDTH, .bandwidth = 7};
    struct bm_job job = {.limits.bandwidth = 1,
                         .limits.settle_ms = 2,
                         .limits.guest_latency = 3};

    bm_limits_job(&rate, &job);
    cr_expect_eq(job.limits.bandwidth, 7);
    cr_expect_eq(job.limits.settle_ms, 2);
    cr_expect_eq(job.limits.guest_latency, 3);
}

Test(limits, what_was_asked_later_counts)
{
    struct bm_limits sum = {.parts = BM_LIMIT_BANDWIDTH, .bandwidth = 7};

    bm_limits_add(&sum, &all);
    expect_all(&sum);
}

Test(limits, text)
{
    const struct bm_limits lifted = {.parts = BM_LIMIT_BANDWIDTH |
                                              BM_LIMIT_GUEST_LATENCY};
    char text[200];

    cr_expect_str_eq(bm_limits_text(&lifted, text, sizeof text),
                     "bandwidth none, guest latency off");
    bm_limits_text(&all, text, sizeof text);
    cr_expect_lt(strlen(text), sizeof text - 1, "%s", text);
}
