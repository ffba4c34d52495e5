// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a user may change of a job that has begun: `job set`. On the control
 * socket it is one line, "set bandwidth=1048576 guest-latency=2": the names of
 * the options, whole numbers (bytes a second, bytes, milliseconds) and the
 * factor; 0 is none, or off.
 */
#ifndef BM_CONTROL_LIMITS_H
#define BM_CONTROL_LIMITS_H

#include "blockmig/job/job.h"

/* The defaults of the options, and what they may be at least or at most. */
#define BM_GUEST_LATENCY 2.0     /* --guest-latency */
#define BM_GUEST_LATENCY_MIN 1.1 /* less could never be met */
#define BM_SWITCH_MAX (UINT64_C(64) << 20)
#define BM_MAX_PAUSE_MS 500
#define BM_MAX_DEPTH 32 /* images a disk */

/* Which of them were given. */
enum bm_limit {
    BM_LIMIT_BANDWIDTH = 1,
    BM_LIMIT_GUEST_LATENCY = 2,
    BM_LIMIT_SWITCH_MAX = 4,
    BM_LIMIT_SETTLE = 8,
    BM_LIMIT_MAX_PAUSE = 16,
};

struct bm_limits {
    unsigned parts;     /* of enum bm_limit */
    uint64_t bandwidth; /* as of struct bm_job, all of them */
    double guest_latency;
    uint64_t switch_max;
    int64_t settle_ms;
    int max_pause_ms;
};

#define BM_LIMITS_LINE 256 /* bytes; no line is longer */

/* The line, into buf. */
void bm_limits_line(const struct bm_limits *limits, char buf[BM_LIMITS_LINE]);
/* 0; -EINVAL: it is no such line, *out is undefined. */
int bm_limits_parse(const char *line, struct bm_limits *out);
/* Adds what was asked later: that counts. */
void bm_limits_add(struct bm_limits *to, const struct bm_limits *later);
/* Puts it into the job. */
void bm_limits_job(const struct bm_limits *limits, struct bm_job *job);
/* For people: "bandwidth 10.0 MiB/s, guest latency off", into buf. */
const char *bm_limits_text(const struct bm_limits *limits, char *buf,
                           size_t size);

#endif
