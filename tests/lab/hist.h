// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Latency histograms on a logarithmic scale, eight buckets to the octave,
 * shared by the guest that fills them and `measure` that merges them.
 *
 * A latency of us microseconds falls into the bucket
 *
 *     us                                       for us < 8
 *     8 * (e - 2) + ((us >> (e - 3)) & 7)      else, e = floor(log2(us))
 *
 * so bucket b >= 8 holds (8 + b % 8) << (b / 8 - 1) and up, to just below
 * the next bucket. A percentile is taken from within its bucket, as if what
 * fell there were spread evenly: so it is an eighth off at most.
 *
 * As text: `bucket:count,bucket:count,...` in ascending order, empty buckets
 * left out, `-` for none at all.
 *
 * Not locked: one thread at a time.
 */
#ifndef LAB_HIST_H
#define LAB_HIST_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define HIST_BUCKETS 312 /* 2^40 us: 12 days */

struct hist {
    uint64_t count[HIST_BUCKETS];
};

static inline unsigned hist_bucket(uint64_t us)
{
    unsigned e, b;

    if (us < 8)
        return (unsigned)us;
    e = 63 - (unsigned)__builtin_clzll(us);
    b = 8 * (e - 2) + (unsigned)((us >> (e - 3)) & 7);
    return b < HIST_BUCKETS ? b : HIST_BUCKETS - 1;
}

/* The least latency that falls into bucket b. */
static inline uint64_t hist_lower(unsigned b)
{
    if (b < 8)
        return b;
    return (uint64_t)(8 + b % 8) << (b / 8 - 1);
}

static inline void hist_add(struct hist *h, uint64_t us)
{
    h->count[hist_bucket(us)]++;
}

static inline void hist_merge(struct hist *to, const struct hist *from)
{
    unsigned b;

    for (b = 0; b < HIST_BUCKETS; b++)
        to->count[b] += from->count[b];
}

static inline uint64_t hist_total(const struct hist *h)
{
    uint64_t n = 0;
    unsigned b;

    for (b = 0; b < HIST_BUCKETS; b++)
        n += h->count[b];
    return n;
}

/* The latency that `percent` percent stay at or below; 0 when empty. */
static inline uint64_t hist_percentile(const struct hist *h, unsigned percent)
{
    uint64_t total = hist_total(h), seen = 0;
    uint64_t want = (total * percent + 99) / 100;
    unsigned b;

    for (b = 0; b < HIST_BUCKETS && total > 0; b++) {
        uint64_t here = h->count[b], low = hist_lower(b);

        if (here > 0 && seen + here >= want)
            return low + (hist_lower(b + 1) - low) * (want - seen) / here;
        seen += here;
    }
    return 0;
}

/* Writes the text form; returns its length, cut to size. */
static inline size_t hist_print(const struct hist *h, char *buf, size_t size)
{
    size_t at = 0;
    unsigned b;

    for (b = 0; b < HIST_BUCKETS && at + 32 < size; b++)
        if (h->count[b] > 0)
            at += (size_t)snprintf(buf + at, size - at, "%s%u:%" PRIu64,
                                   at > 0 ? "," : "", b, h->count[b]);
    if (at == 0)
        at = (size_t)snprintf(buf, size, "-");
    return at;
}

/* Adds the text form to h. 0, or -1 when it is malformed. */
static inline int hist_parse(struct hist *h, const char *text)
{
    while (*text != '\0' && *text != ' ' && *text != '-') {
        char *end;
        unsigned long b = strtoul(text, &end, 10);

        if (end == text || *end != ':' || b >= HIST_BUCKETS)
            return -1;
        text = end + 1;
        h->count[b] += strtoull(text, &end, 10);
        if (end == text)
            return -1;
        text = end + (*end == ',');
    }
    return 0;
}

#endif
