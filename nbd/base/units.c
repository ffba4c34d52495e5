// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS INT64_C(1000000000) /* a second */

static int64_t clock_ms(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t bm_now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

int64_t bm_wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

int64_t bm_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return bm_nanoseconds(&ts);
}

void bm_sleep_ns(int64_t ns)
{
    struct timespec ts = {ns / NS, ns % NS};

    if (ns <= 0)
        return;
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
        continue;
}

void bm_sleep_ms(int ms)
{
    bm_sleep_ns(ms * INT64_C(1000000));
}

/* The power of two of a suffix, -1 for anything else. */
static int suffix_shift(const char *suffix)
{
    static const char names[] = "KMGT";
    const char *found;

    if (!suffix[0])
        return 0;
    found = strchr(names, suffix[0]);
    if (!found || suffix[1])
        return -1;
    return (int)(found - names + 1) * 10;
}

int bm_parse_size(const char *text, uint64_t *out)
{
    unsigned long long value;
    char *end;
    int shift;

    /* strtoull takes blanks, signs and wraps "-1" around: we do not. */
    if (!text || text[0] < '0' || text[0] > '9')
        return -EINVAL;
    errno = 0;
    value = strtoull(text, &end, 10);
    shift = suffix_shift(end);
    if (shift < 0)
        return -EINVAL;
    if (errno == ERANGE || value == 0 ||
        value > (unsigned long long)INT64_MAX >> shift)
        return -ERANGE;
    *out = (uint64_t)value << shift;
    return 0;
}

int bm_parse_number(const char *text, int64_t min, int64_t max, int64_t *out)
{
    const char *digits = text && text[0] == '-' ? text + 1 : text;
    long long value;
    char *end;

    if (!digits || digits[0] < '0' || digits[0] > '9')
        return -EINVAL;
    errno = 0;
    value = strtoll(text, &end, 10);
    if (*end)
        return -EINVAL;
    if (errno == ERANGE || value < min || value > max)
        return -ERANGE;
    *out = value;
    return 0;
}

const char *bm_format_size(uint64_t bytes, char *buf, size_t size)
{
    static const char *const units[] = {"B",   "KiB", "MiB", "GiB",
                                        "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    uint64_t tenths;

    /* In whole tenths, so that 1023.96 KiB is said as 1 MiB. */
    for (;; unit++) {
        unsigned __int128 scaled = (unsigned __int128)bytes * 10;

        if (unit)
            scaled += (unsigned __int128)1 << (10 * unit - 1);
        tenths = (uint64_t)(scaled >> (10 * unit));
        if (tenths < 10240 || unit == 6)
            break;
    }
    if (tenths % 10)
        snprintf(buf, size, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10,
                 tenths % 10, units[unit]);
    else
        snprintf(buf, size, "%" PRIu64 " %s", tenths / 10, units[unit]);
    return buf;
}

struct timespec bm_deadline(int timeout_ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += timeout_ms / 1000;
    at.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

void bm_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

int64_t bm_nanoseconds(const struct timespec *time)
{
    return time->tv_sec * NS + time->tv_nsec;
}
