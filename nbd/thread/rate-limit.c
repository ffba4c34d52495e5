// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/thread/rate-limit.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <pthread.h>
#include <stdlib.h>

#define SECOND INT64_C(1000000000)
#define BURST (SECOND / 10)
#define DEBT_MAX (86400 * SECOND) /* and so no sum overflows */
#define HELD_MS 100               /* before a held one is asked again */
#define REST_MAX (SECOND / 50)

/*
 * Kept as time instead of bytes: `paid` is the moment up to which the bytes
 * that were taken are paid for. A new rate changes what the next bytes cost,
 * and how long a debt lasts that the old one left.
 */
struct bm_rate_limit {
    pthread_mutex_t mutex;
    uint64_t rate;
    uint32_t request; /* bytes */
    double rest;
    bool held;
    int64_t paid; /* ns, CLOCK_MONOTONIC */
};

static int64_t limited(double ns)
{
    return ns < (double)DEBT_MAX ? (int64_t)ns : DEBT_MAX;
}

struct bm_rate_limit *bm_rate_limit_new(uint64_t rate)
{
    struct bm_rate_limit *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    pthread_mutex_init(&t->mutex, NULL);
    t->rate = rate;
    return t;
}

void bm_rate_limit_free(struct bm_rate_limit *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

uint64_t bm_rate_limit_rate(struct bm_rate_limit *t)
{
    BM_LOCK(&t->mutex);

    return t->rate;
}

void bm_rate_limit_set(struct bm_rate_limit *t, uint64_t rate)
{
    int64_t now = bm_now_ns(), debt;

    BM_LOCK(&t->mutex);
    debt = t->paid - now;
    if (debt > 0) {
        double bytes = (double)debt * (double)t->rate;

        t->paid = now + (rate == 0 ? 0 : limited(bytes / (double)rate));
    }
    t->rate = rate;
}

void bm_rate_limit_hold(struct bm_rate_limit *t, bool held)
{
    BM_LOCK(&t->mutex);
    t->held = held;
}

void bm_rate_limit_set_request(struct bm_rate_limit *t, uint32_t bytes)
{
    BM_LOCK(&t->mutex);
    t->request = bytes;
}

uint32_t bm_rate_limit_request(struct bm_rate_limit *t)
{
    BM_LOCK(&t->mutex);

    return t->request;
}

void bm_rate_limit_set_rest(struct bm_rate_limit *t, double rest)
{
    BM_LOCK(&t->mutex);
    t->rest = rest;
}

/* One alone works for 1 / (1 + rest) of the time, one of n for an n-th of that.
 */
int64_t bm_rate_limit_rest(struct bm_rate_limit *t, int64_t worked,
                           unsigned workers)
{
    double most = (double)REST_MAX * workers, ns;

    BM_LOCK(&t->mutex);
    if (t->rest <= 0)
        return 0;
    ns = (workers * (1 + t->rest) - 1) * (double)worked;
    return (int64_t)(ns < most ? ns : most);
}

/* In milliseconds, until the bytes are paid for. */
static int pay(struct bm_rate_limit *t, uint64_t bytes)
{
    int64_t now = bm_now_ns(), debt;

    if (t->rate == 0)
        return 0;
    debt = t->paid - now;
    if (debt < -BURST)
        debt = -BURST;
    debt = limited((double)debt + (double)bytes * 1e9 / (double)t->rate);
    t->paid = now + debt;
    return debt > 0 ? (int)((debt + 999999) / 1000000) : 0;
}

int bm_rate_limit_take(struct bm_rate_limit *t, uint64_t bytes)
{
    int ms;

    BM_LOCK(&t->mutex);
    ms = pay(t, bytes);
    return t->held && ms < HELD_MS ? HELD_MS : ms;
}
