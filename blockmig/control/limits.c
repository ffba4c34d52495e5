// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/control/limits.h"

#include "nbd/base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND "set"
#define FACTOR_MAX 1000

/* --- the line --- */

static void add_number(char buf[BM_LIMITS_LINE], const char *name,
                       uint64_t number)
{
    size_t n = strlen(buf);

    snprintf(buf + n, BM_LIMITS_LINE - n, " %s=%" PRIu64, name, number);
}

void bm_limits_line(const struct bm_limits *limits, char buf[BM_LIMITS_LINE])
{
    size_t n;

    snprintf(buf, BM_LIMITS_LINE, COMMAND);
    if (limits->parts & BM_LIMIT_BANDWIDTH)
        add_number(buf, "bandwidth", limits->bandwidth);
    if (limits->parts & BM_LIMIT_SWITCH_MAX)
        add_number(buf, "switch-max", limits->switch_max);
    if (limits->parts & BM_LIMIT_SETTLE)
        add_number(buf, "settle", (uint64_t)limits->settle_ms);
    if (limits->parts & BM_LIMIT_MAX_PAUSE)
        add_number(buf, "max-pause", (uint64_t)limits->max_pause_ms);
    n = strlen(buf);
    if (limits->parts & BM_LIMIT_GUEST_LATENCY)
        snprintf(buf + n, BM_LIMITS_LINE - n, " guest-latency=%.6g",
                 limits->guest_latency);
}

static int parse_factor(const char *text, double *out)
{
    char *end;
    double number = strtod(text, &end);

    if (end == text || *end ||
        !(number == 0 ||
          (number >= BM_GUEST_LATENCY_MIN && number <= FACTOR_MAX)))
        return -EINVAL;
    *out = number;
    return 0;
}

/* Takes one NAME=VALUE. */
static int parse_word(char *word, struct bm_limits *out)
{
    char *value = strchr(word, '=');
    int64_t number = 0;
    bool factor;

    if (!value)
        return -EINVAL;
    *value++ = '\0';
    factor = !strcmp(word, "guest-latency");
    if (factor ? parse_factor(value, &out->guest_latency)
               : bm_parse_number(value, 0, INT64_MAX, &number))
        return -EINVAL;
    if (factor) {
        out->parts |= BM_LIMIT_GUEST_LATENCY;
    } else if (!strcmp(word, "bandwidth")) {
        out->parts |= BM_LIMIT_BANDWIDTH;
        out->bandwidth = (uint64_t)number;
    } else if (!strcmp(word, "switch-max")) {
        out->parts |= BM_LIMIT_SWITCH_MAX;
        out->switch_max = (uint64_t)number;
    } else if (!strcmp(word, "settle")) {
        out->parts |= BM_LIMIT_SETTLE;
        out->settle_ms = number;
    } else if (!strcmp(word, "max-pause") && number > 0 && number <= INT_MAX) {
        out->parts |= BM_LIMIT_MAX_PAUSE;
        out->max_pause_ms = (int)number;
    } else {
        return -EINVAL;
    }
    return 0;
}

int bm_limits_parse(const char *line, struct bm_limits *out)
{
    char copy[BM_LIMITS_LINE], *rest = NULL, *word;

    memset(out, 0, sizeof *out);
    if ((size_t)snprintf(copy, sizeof copy, "%s", line) >= sizeof copy)
        return -EINVAL;
    word = strtok_r(copy, " ", &rest);
    if (!word || strcmp(word, COMMAND) != 0)
        return -EINVAL;
    while ((word = strtok_r(NULL, " ", &rest)))
        if (parse_word(word, out))
            return -EINVAL;
    return out->parts ? 0 : -EINVAL;
}

/* --- what it means --- */

void bm_limits_add(struct bm_limits *to, const struct bm_limits *later)
{
    to->parts |= later->parts;
    if (later->parts & BM_LIMIT_BANDWIDTH)
        to->bandwidth = later->bandwidth;
    if (later->parts & BM_LIMIT_GUEST_LATENCY)
        to->guest_latency = later->guest_latency;
    if (later->parts & BM_LIMIT_SWITCH_MAX)
        to->switch_max = later->switch_max;
    if (later->parts & BM_LIMIT_SETTLE)
        to->settle_ms = later->settle_ms;
    if (later->parts & BM_LIMIT_MAX_PAUSE)
        to->max_pause_ms = later->max_pause_ms;
}

void bm_limits_job(const struct bm_limits *limits, struct bm_job *job)
{
    if (limits->parts & BM_LIMIT_BANDWIDTH)
        job->limits.bandwidth = limits->bandwidth;
    if (limits->parts & BM_LIMIT_GUEST_LATENCY)
        job->limits.guest_latency = limits->guest_latency;
    if (limits->parts & BM_LIMIT_SWITCH_MAX)
        job->limits.switch_max = limits->switch_max;
    if (limits->parts & BM_LIMIT_SETTLE)
        job->limits.settle_ms = limits->settle_ms;
    if (limits->parts & BM_LIMIT_MAX_PAUSE)
        job->limits.max_pause_ms = limits->max_pause_ms;
}

static void add_text(char *buf, size_t size, const char *name,
                     const char *value)
{
    size_t n = strlen(buf);

    snprintf(buf + n, size - n, "%s%s %s", n ? ", " : "", name, value);
}

static void add_rate(char *buf, size_t size, uint64_t rate)
{
    char bytes[32], text[40];

    snprintf(text, sizeof text, "%s/s",
             bm_format_size(rate, bytes, sizeof bytes));
    add_text(buf, size, "bandwidth", rate ? text : "none");
}

static void add_factor(char *buf, size_t size, double factor)
{
    char text[32];

    snprintf(text, sizeof text, "%.6g", factor);
    add_text(buf, size, "guest latency", factor > 0 ? text : "off");
}

static void add_ms(char *buf, size_t size, const char *name, int64_t ms)
{
    char text[32];

    snprintf(text, sizeof text, "%" PRId64 " ms", ms);
    add_text(buf, size, name, text);
}

const char *bm_limits_text(const struct bm_limits *limits, char *buf,
                           size_t size)
{
    char bytes[32];

    buf[0] = '\0';
    if (limits->parts & BM_LIMIT_BANDWIDTH)
        add_rate(buf, size, limits->bandwidth);
    if (limits->parts & BM_LIMIT_GUEST_LATENCY)
        add_factor(buf, size, limits->guest_latency);
    if (limits->parts & BM_LIMIT_SWITCH_MAX)
        add_text(buf, size, "switch-max",
                 bm_format_size(limits->switch_max, bytes, sizeof bytes));
    if (limits->parts & BM_LIMIT_SETTLE)
        add_ms(buf, size, "settle", limits->settle_ms);
    if (limits->parts & BM_LIMIT_MAX_PAUSE)
        add_ms(buf, size, "max-pause", limits->max_pause_ms);
    return buf;
}
