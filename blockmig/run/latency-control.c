// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/latency-control.h"

#include "nbd/base/cleanup.h"
#include "blockmig/control/limits.h"

#define MIB (UINT64_C(1) << 20)
#define START (256 * MIB)     /* of a guest that does I/O */
#define NO_LIMIT (8192 * MIB) /* nothing is as fast */
#define SLOW (4 * BM_LATENCY_RATE_MIN)

#define ASSUMED_US 1000.0 /* baseline of a guest that did nothing */
#define FLOOR_US 250.0 /* less is the host's noise: 150 to 220 us were seen */
#define BELIEVED 16    /* requests that a mean needs */

#define MEASURE_MS 3000
#define MEASURE_SOON_MS 1000
#define PLENTY 200 /* requests */
#define JUDGE_MS 400
#define GATHER_MS 1000

#define CUT_MOST 0.2
#define CUT_LEAST 0.9
#define MUCH 1.5              /* times the aim */
#define AIM 0.9               /* of what the bound allows above the baseline */
#define KNEE_REST 0.8         /* of the speed that did harm: where to wait */
#define PATIENCE_MS 1000      /* before that speed is tried again; doubled */
#define PATIENCE_MAX_MS 16000 /* each time it does harm again, up to this */
#define FORGET_MS 60000
#define SILENT_MS 5000
#define LEARN_MS 1500 /* twice */

/* What was seen over a time. */
struct seen_context {
    int64_t ms;
    uint64_t moved; /* bytes, by the copy */
    uint64_t requests;
    double us; /* their latencies, added up */
};

struct bm_latency_control {
    pthread_mutex_t lock;       /* guards all */
    double factor;              /* 0: off */
    uint64_t bandwidth;         /* 0: no cap */
    uint64_t limit;             /* for the latency's sake; 0: none */
    struct seen_context before; /* the move */
    struct seen_context now;    /* not judged yet */
    struct seen_context
        crawl;       /* while the copy crawled, but for the beginning */
    double crawl_us; /* the mean of the time before that; 0: none */
    bool crawling;
    uint64_t speed;     /* bytes a second, as last judged */
    double latency;     /* us, likewise */
    double learned;     /* us, a baseline above the measured one; 0: none */
    int64_t learned_ms; /* how old that is */
    bool harming;       /* the last judgement was: too slow a guest */
    uint64_t knee;      /* the speed that did harm; 0: none known */
    int64_t quiet_ms;   /* since the last great harm */
    int64_t silent_ms;  /* without a request that ended */
    int64_t stall_ms;
};

static double between(double low, double value, double high)
{
    return value < low ? low : value > high ? high : value;
}

static void see(struct seen_context *seen, int64_t ms, uint64_t moved,
                const struct bm_block_sample *sample)
{
    seen->ms += ms;
    seen->moved += moved;
    seen->requests += sample->requests;
    seen->us += sample->latency_us * (double)sample->requests;
}

static uint64_t speed_of(const struct seen_context *seen)
{
    return seen->ms ? seen->moved * 1000 / (uint64_t)seen->ms : 0;
}

/*
 * The mean, where few requests are filled up with such as were expected: so
 * one slow request says little, but five very slow ones say enough, and need
 * not wait for more that the slowness itself keeps away.
 */
static double mean_us(const struct seen_context *seen, double expected)
{
    uint64_t n = seen->requests < BELIEVED ? BELIEVED : seen->requests;
    double unseen = (double)(n - seen->requests) * expected;

    return (seen->us + unseen) / (double)n;
}

static double baseline(const struct bm_latency_control *p)
{
    double measured = mean_us(&p->before, ASSUMED_US);

    if (p->learned > 0)
        return p->learned;
    return measured < FLOOR_US ? FLOOR_US : measured;
}

/* What it is controlled to: a little less than the bound, so that it is kept
 * although what is judged wobbles. */
static double aim(const struct bm_latency_control *p)
{
    return baseline(p) * (1 + AIM * (p->factor - 1));
}

static uint64_t rate(const struct bm_latency_control *p)
{
    bool capped = p->bandwidth && (!p->limit || p->bandwidth < p->limit);

    return capped ? p->bandwidth : p->limit;
}

/* --- the guest's own doing --- */

/*
 * Slow by itself, say since it began to write in bigger pieces, the guest
 * would hold the copy at the minimum for days: so what it sees while the copy
 * crawls becomes the baseline: the better one of two times, since even then we
 * can be in its way. Only for a minute, since the reason may pass.
 */
static void learn(struct bm_latency_control *p)
{
    double own = mean_us(&p->crawl, 0), other = p->crawl_us;

    if (p->crawl.ms < LEARN_MS || p->crawl.requests < BELIEVED)
        return;
    p->crawl = (struct seen_context){0};
    p->crawl_us = own;
    if (other < own)
        own = other;
    if (own > baseline(p)) {
        p->learned = own;
        p->learned_ms = 0;
    }
}

static void look_at_crawl(struct bm_latency_control *p, uint64_t speed)
{
    bool crawled = p->crawling;

    p->crawling = speed <= SLOW;
    /* what comes first may still wait behind what we did before */
    if (!p->crawling || !crawled) {
        p->crawl = (struct seen_context){0};
        p->crawl_us = 0;
        return;
    }
    p->crawl.ms += p->now.ms;
    p->crawl.requests += p->now.requests;
    p->crawl.us += p->now.us;
    learn(p);
}

static void pass_time(struct bm_latency_control *p)
{
    p->quiet_ms += p->now.ms;
    p->silent_ms = p->now.requests ? 0 : p->silent_ms + p->now.ms;
    p->learned_ms += p->now.ms;
    if (p->learned_ms > FORGET_MS)
        p->learned = 0;
}

/* --- up and down --- */

/*
 * The first of a row of cuts knows best at which speed the harm began. To be
 * a little above the aim is how a steady rate settles there; only what
 * was far above needs patience.
 */
static void note_harm(struct bm_latency_control *p, uint64_t speed, bool much)
{
    bool again = p->knee && p->quiet_ms < FORGET_MS &&
                 speed < p->knee / 2 * 3 && speed > p->knee / 3 * 2;

    p->knee = speed;
    if (!much)
        return;
    p->stall_ms = again && p->stall_ms ? p->stall_ms * 2 : PATIENCE_MS;
    if (p->stall_ms > PATIENCE_MAX_MS)
        p->stall_ms = PATIENCE_MAX_MS;
}

static void slower(struct bm_latency_control *p, double latency, uint64_t speed)
{
    double base = baseline(p), most = aim(p);
    double cut = between(CUT_MOST, (most - base) / (latency - base), CUT_LEAST);
    uint64_t from = p->limit && p->limit < speed ? p->limit : speed;
    bool much = latency > MUCH * most;

    /* a copy that stands still does no harm */
    if (speed < BM_LATENCY_RATE_MIN / 2)
        return;
    if (!p->harming)
        note_harm(p, from, much);
    if (much)
        p->quiet_ms = 0;
    p->harming = true;
    p->limit = (uint64_t)((double)from * cut);
    if (p->limit < BM_LATENCY_RATE_MIN)
        p->limit = BM_LATENCY_RATE_MIN;
}

static bool harm_is_near(const struct bm_latency_control *p)
{
    return p->knee && p->limit < p->knee / 2 * 3;
}

/* Up to four times as much; but to where harm began slowly, and not at once. */
static double growth(const struct bm_latency_control *p, double space)
{
    double rest = KNEE_REST * (double)p->knee / (double)p->limit;

    if (!harm_is_near(p))
        return 1 + 3 * space;
    if (rest > 1.001) /* it was rounded when it came there */
        return between(1, 1 + 3 * space, rest);
    return p->quiet_ms < p->stall_ms ? 1 : 1 + space / 2;
}

static void faster(struct bm_latency_control *p, double latency, uint64_t speed)
{
    double base = baseline(p), most = aim(p), to;

    /* a guest that is silent all at once may be waiting */
    if (!p->limit || (p->silent_ms && p->silent_ms < SILENT_MS))
        return;
    p->harming = false;
    if (speed > p->limit / 10 * 7) {
        to = (double)p->limit *
             growth(p, between(0, (most - latency) / (most - base), 1));
        p->limit = to < (double)NO_LIMIT ? (uint64_t)to : 0;
    } else if (!harm_is_near(p) || p->quiet_ms > FORGET_MS) {
        /* what the copy does not reach is no limit */
        p->limit = 0;
    }
}

static void judge(struct bm_latency_control *p)
{
    double latency = mean_us(&p->now, baseline(p));
    uint64_t speed = speed_of(&p->now), before = p->speed;

    p->speed = speed;
    p->latency = p->now.requests ? latency : 0;
    pass_time(p);
    look_at_crawl(p, speed);
    if (latency > aim(p))
        slower(p, latency, speed);
    else
        /* a slow copy moves by fits and starts */
        faster(p, latency, speed > before ? speed : before);
    p->now = (struct seen_context){0};
}

/* Soon when there is enough to see, or when little says enough already. */
static bool can_judge(const struct bm_latency_control *p)
{
    if (p->now.ms < JUDGE_MS)
        return false;
    return p->now.ms >= GATHER_MS || p->now.requests >= BELIEVED ||
           mean_us(&p->now, baseline(p)) > aim(p);
}

/* --- the outside --- */

static void set(struct bm_latency_control *p, double factor, uint64_t bandwidth)
{
    p->bandwidth = bandwidth;
    if (factor > 0) {
        p->factor =
            factor < BM_GUEST_LATENCY_MIN ? BM_GUEST_LATENCY_MIN : factor;
        return;
    }
    p->factor = 0;
    p->limit = p->knee = 0;
    p->harming = p->crawling = false;
    p->now = p->crawl = (struct seen_context){0};
}

struct bm_latency_control *bm_latency_new(double factor, uint64_t bandwidth)
{
    struct bm_latency_control *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    set(p, factor, bandwidth);
    return p;
}

void bm_latency_free(struct bm_latency_control *p)
{
    if (!p)
        return;
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void bm_latency_set(struct bm_latency_control *p, double factor,
                    uint64_t bandwidth)
{
    BM_LOCK(&p->lock);

    set(p, factor, bandwidth);
}

bool bm_latency_measure(struct bm_latency_control *p,
                        const struct bm_block_sample *sample)
{
    BM_LOCK(&p->lock);

    see(&p->before, sample->ms, 0, sample);
    p->limit = p->factor > 0 && p->before.requests > 0 ? START : 0;
    return p->factor <= 0 || p->before.ms >= MEASURE_MS ||
           (p->before.ms >= MEASURE_SOON_MS && p->before.requests >= PLENTY);
}

uint64_t bm_latency_tick(struct bm_latency_control *p, int64_t ms,
                         uint64_t moved, const struct bm_block_sample *sample)
{
    BM_LOCK(&p->lock);

    if (!sample)
        p->now = (struct seen_context){0}; /* not known is not idle */
    else if (p->factor > 0)
        see(&p->now, ms, moved, sample);
    if (can_judge(p))
        judge(p);
    return rate(p);
}

uint64_t bm_latency_rate(struct bm_latency_control *p)
{
    BM_LOCK(&p->lock);

    return rate(p);
}

void bm_latency_read_state(struct bm_latency_control *p,
                           struct bm_latency_state *out)
{
    BM_LOCK(&p->lock);

    *out = (struct bm_latency_state){
        .rate = rate(p),
        .factor = p->factor,
        .latency_us = p->latency,
        .baseline_us = baseline(p),
        .bound_us = p->factor * baseline(p),
        .limited = p->limit && rate(p) == p->limit,
        .learned = p->learned > 0,
    };
}
