// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/pacing.h"

#include "blockmig/run/writeback.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <string.h>

#define TICK_MS 500
#define CALL_MS 1000
/* The measure before: looks, their distance, and how many without any I/O are
 * enough to call the guest idle. */
#define LOOKS 20
#define LOOK_MS 50
#define IDLE_LOOKS 1
/* Requests of a tick that make a guest that was idle one at work. */
#define AT_WORK 8
/* Bytes. Of 1 MiB the guest's p99 was 3 to 4 ms, where it is 1 to 1.3 ms alone;
 * of this much 1.5 to 2 ms, and the copy no slower. */
#define REQUEST (128u << 10)
/* Bytes a second for each time that the latency may be added. QEMU pulls in
 * bursts, each 100 ms, of pieces of 512 KiB. Most requests of the guest meet
 * none, and the mean says nothing; its p99 was 1.6 times of what it was at 16
 * MiB/s, 2.1 times at 32, 3.5 times at 75. */
#define PULL_MOST (20.0 * (1 << 20))
#define WRITTEN 3 /* images of a disk, at most, that QEMU writes to */

struct bm_pacer {
    struct bm_pace *pace;
    struct bm_throttle *throttle; /* borrowed; NULL: none */
    struct bm_behind *behind;     /* owned; NULL: nothing to be written yet */
    bool jobs;                    /* the step is one of block jobs */
    struct bm_block_stats last;
    bool have_last;
    bool held;
    bool measured;   /* what its I/O took before is known, if it can be */
    bool gentle;     /* there is a guest to be spared */
    bool busy;       /* and it was at work, before the move or since */
    int64_t tick_ms; /* bm_now_ms of the last tick */
    uint64_t moved;  /* at that time */
};

/* false: nothing is known of this time. */
static bool sample(struct bm_pacer *pacer, struct bm_run *m,
                   struct bm_block_sample *out)
{
    BM_FREE const char **targets = calloc(m->job->n_disks, sizeof *targets);
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_block_stats now;
    bool known;

    if (!targets || !m->domain || !m->domain->active)
        return false;
    for (size_t i = 0; i < m->job->n_disks; i++)
        targets[i] = m->job->disks[i].target;
    if (bm_block_stats_read(m->domain, targets, m->job->n_disks, CALL_MS, &now,
                            &ignored) != 0) {
        pacer->have_last = false;
        return false;
    }
    known =
        pacer->have_last && bm_block_stats_diff(&pacer->last, &now, out) == 0;
    pacer->last = now;
    pacer->have_last = true;
    return known;
}

/* Until the last look is old enough for another. */
static void rest(const struct bm_pacer *pacer)
{
    int64_t left = pacer->last.time_ms + LOOK_MS - bm_now_ms();

    if (pacer->have_last && left > 0)
        bm_sleep_ms(left < LOOK_MS ? (int)left : LOOK_MS);
}

/* What it did since the first look says whether it is at work at all; how long
 * its I/O takes, only what it does while we do nothing. */
static void measure(struct bm_pacer *pacer, struct bm_run *m)
{
    bool quiet = !pacer->have_last;

    for (int i = !quiet; i < LOOKS; i++, quiet = true) {
        struct bm_block_sample it;

        rest(pacer);
        if (sample(pacer, m, &it)) {
            pacer->busy |= it.requests > 0;
            if (quiet && bm_pace_measure(pacer->pace, &it))
                return;
        }
        if (i >= IDLE_LOOKS && !pacer->busy)
            return;
    }
}

/* One that is to be spared. */
static bool has_guest(const struct bm_run *m)
{
    return m->job->limits.guest_latency > 0 && m->domain && m->domain->active;
}

static struct bm_pacer *pacer_new(struct bm_run *m)
{
    struct bm_pacer *pacer = calloc(1, sizeof *pacer);
    struct bm_block_sample none;

    if (!pacer)
        return NULL;
    pacer->pace =
        bm_pace_new(m->job->limits.guest_latency, m->job->limits.bandwidth);
    if (!pacer->pace) {
        free(pacer);
        return NULL;
    }
    pacer->gentle = has_guest(m);
    if (pacer->gentle)
        (void)sample(pacer, m, &none);
    return pacer;
}

int bm_pacer_begin(struct bm_run *m, struct bm_error *err)
{
    if (!m->pacer)
        m->pacer = pacer_new(m);
    return m->pacer
               ? 0
               : bm_fail_errno(err, ENOMEM, "cannot move %s", m->job->domain);
}

void bm_pacer_measure(struct bm_run *m)
{
    if (!m->pacer || m->pacer->measured)
        return;
    m->pacer->measured = true;
    m->pacer->gentle = has_guest(m); /* it may have been started since */
    if (m->pacer->gentle)
        measure(m->pacer, m);
}

int bm_pacer_need(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_pacer_begin(m, err);

    if (!rc)
        bm_pacer_measure(m);
    return rc;
}

void bm_pacer_free(struct bm_pacer *pacer)
{
    if (!pacer)
        return;
    bm_behind_stop(pacer->behind);
    bm_pace_free(pacer->pace);
    free(pacer);
}

bool bm_pacer_spares(const struct bm_pacer *pacer)
{
    return pacer && pacer->gentle && pacer->busy;
}

/* --- what the guest flushes --- */

/* Where it runs, unless that is where it ran before we came. */
static const char *active(struct bm_run *m, size_t i)
{
    const struct bm_layer *old = bm_job_old(&m->job->disks[i], 0);
    struct bm_disk *disk = bm_run_disk(m, i);
    const struct bm_layer *top = disk ? disk->chain.layers : NULL;

    if (!top || !disk->chain.n || top->type != BM_SOURCE_FILE || !top->path)
        return NULL;
    return old->path && !strcmp(top->path, old->path) ? NULL : top->path;
}

/* QEMU mirrors and merges into the new image and the mirror overlay. */
static size_t flushed(struct bm_run *m, char **paths)
{
    size_t n = 0;

    for (size_t i = 0; i < m->job->n_disks; i++) {
        const struct bm_job_disk *plan = &m->job->disks[i];
        const char *all[] = {active(m, i), plan->fixed.mirror_overlay,
                             bm_job_image(plan)->path};

        for (size_t k = 0; k < WRITTEN; k++)
            if (all[k] && (paths[n] = strdup(all[k])))
                n++;
    }
    return n;
}

void bm_pacer_follow(struct bm_pacer *pacer, struct bm_run *m)
{
    BM_FREE char **paths = NULL;

    if (!bm_pacer_spares(pacer))
        return;
    paths = calloc(m->job->n_disks, WRITTEN * sizeof *paths);
    if (!pacer->behind)
        pacer->behind = bm_behind_start();
    if (paths && pacer->behind)
        bm_behind_follow(pacer->behind, paths, flushed(m, paths));
}

void bm_pacer_rest(struct bm_pacer *pacer)
{
    if (pacer)
        bm_behind_stop(BM_STEAL(pacer->behind));
}

/* --- the rate --- */

/*
 * The rate, and how much of the medium's time is the guest's. The mean says
 * nothing of what few requests meet, and a flush is half a dozen of them, one
 * after the other: on a disk of 1.6 GB/s its p99 was 2.1 to 2.9 times what it
 * was before, with a mean that had grown by half only. Where arrivals are
 * random, a medium that is busy for a share of 1 - 1 / factor of the time takes
 * factor times as long.
 */
static void limits(const struct bm_pacer *pacer)
{
    bool spares = bm_pacer_spares(pacer);
    struct bm_pace_state state;

    bm_pace_state(pacer->pace, &state);
    bm_throttle_set(pacer->throttle, state.rate);
    bm_throttle_set_request(pacer->throttle, spares ? REQUEST : 0);
    bm_throttle_set_rest(pacer->throttle, spares ? 1 / (state.factor - 1) : 0);
}

void bm_pacer_take(struct bm_pacer *pacer, struct bm_throttle *throttle)
{
    pacer->throttle = throttle;
    pacer->jobs = false;
    pacer->moved = 0;
    pacer->tick_ms = bm_now_ms();
    if (!throttle)
        return;
    limits(pacer);
    bm_throttle_hold(throttle, pacer->held);
}

void bm_pacer_take_jobs(struct bm_pacer *pacer)
{
    bm_pacer_take(pacer, NULL);
    pacer->jobs = true;
}

void bm_pacer_take_jobs_too(struct bm_pacer *pacer)
{
    pacer->jobs = true;
}

/* 0: no limit. */
static uint64_t jobs_rate(const struct bm_pacer *pacer)
{
    uint64_t rate = bm_pace_rate(pacer->pace), most;
    struct bm_pace_state state;

    if (!bm_pacer_spares(pacer))
        return rate;
    bm_pace_state(pacer->pace, &state);
    most = (uint64_t)(PULL_MOST * (state.factor - 1));
    if (most < BM_PACE_RATE_MIN)
        most = BM_PACE_RATE_MIN;
    return rate && rate < most ? rate : most;
}

void bm_pacer_share(struct bm_pacer *pacer, size_t n, uint64_t *share)
{
    uint64_t rate = jobs_rate(pacer);

    if (pacer->jobs)
        *share = rate && rate < n ? 1 : rate / n;
}

void bm_pacer_hold(struct bm_pacer *pacer, bool held)
{
    pacer->held = held;
    pacer->have_last = false;
    pacer->tick_ms = bm_now_ms();
    if (pacer->throttle)
        bm_throttle_hold(pacer->throttle, held);
}

void bm_pacer_set(struct bm_pacer *pacer, double factor, uint64_t bandwidth)
{
    bm_pace_set(pacer->pace, factor, bandwidth);
    pacer->gentle = factor > 0;
    if (pacer->throttle)
        limits(pacer);
}

void bm_pacer_tick(struct bm_pacer *pacer, struct bm_run *m, uint64_t moved)
{
    int64_t ms = bm_now_ms() - pacer->tick_ms;
    struct bm_block_sample it;
    bool known;

    if ((!pacer->throttle && !pacer->jobs) || pacer->held || ms < TICK_MS)
        return;
    known = m->job->limits.guest_latency > 0 && sample(pacer, m, &it);
    (void)bm_pace_tick(pacer->pace, ms, moved - pacer->moved,
                       known ? &it : NULL);
    if (known && it.requests >= AT_WORK)
        pacer->busy = true;
    if (pacer->throttle)
        limits(pacer);
    pacer->tick_ms += ms;
    pacer->moved = moved;
}

void bm_pacer_state(struct bm_pacer *pacer, struct bm_pace_state *out)
{
    bm_pace_state(pacer->pace, out);
}
