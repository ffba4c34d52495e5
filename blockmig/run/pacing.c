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

struct bm_pacing {
    struct bm_latency_control *control;
    struct bm_rate_limit *rate_limit; /* borrowed; NULL: none */
    struct bm_writeback *writeback; /* owned; NULL: nothing to be written yet */
    bool jobs;                      /* the step is one of block jobs */
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
static bool sample(struct bm_pacing *pacing, struct bm_run *run,
                   struct bm_block_sample *out)
{
    BM_FREE const char **targets = calloc(run->job->n_disks, sizeof *targets);
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_block_stats now;
    bool known;

    if (!targets || !run->domain || !run->domain->active)
        return false;
    for (size_t i = 0; i < run->job->n_disks; i++)
        targets[i] = run->job->disks[i].target;
    if (bm_block_stats_read(run->domain, targets, run->job->n_disks, CALL_MS,
                            &now, &ignored) != 0) {
        pacing->have_last = false;
        return false;
    }
    known =
        pacing->have_last && bm_block_stats_diff(&pacing->last, &now, out) == 0;
    pacing->last = now;
    pacing->have_last = true;
    return known;
}

/* Until the last look is old enough for another. */
static void rest(const struct bm_pacing *pacing)
{
    int64_t left = pacing->last.time_ms + LOOK_MS - bm_now_ms();

    if (pacing->have_last && left > 0)
        bm_sleep_ms(left < LOOK_MS ? (int)left : LOOK_MS);
}

/* What it did since the first look says whether it is at work at all; how long
 * its I/O takes, only what it does while we do nothing. */
static void measure(struct bm_pacing *pacing, struct bm_run *run)
{
    bool quiet = !pacing->have_last;

    for (int i = !quiet; i < LOOKS; i++, quiet = true) {
        struct bm_block_sample it;

        rest(pacing);
        if (sample(pacing, run, &it)) {
            pacing->busy |= it.requests > 0;
            if (quiet && bm_latency_measure(pacing->control, &it))
                return;
        }
        if (i >= IDLE_LOOKS && !pacing->busy)
            return;
    }
}

/* One that is to be spared. */
static bool has_guest(const struct bm_run *run)
{
    return run->job->limits.guest_latency > 0 && run->domain &&
           run->domain->active;
}

static struct bm_pacing *pacer_new(struct bm_run *run)
{
    struct bm_pacing *pacing = calloc(1, sizeof *pacing);
    struct bm_block_sample none;

    if (!pacing)
        return NULL;
    pacing->control = bm_latency_new(run->job->limits.guest_latency,
                                     run->job->limits.bandwidth);
    if (!pacing->control) {
        free(pacing);
        return NULL;
    }
    pacing->gentle = has_guest(run);
    if (pacing->gentle)
        (void)sample(pacing, run, &none);
    return pacing;
}

int bm_pacing_begin(struct bm_run *run, struct bm_error *err)
{
    if (!run->pacing)
        run->pacing = pacer_new(run);
    return run->pacing
               ? 0
               : bm_fail_errno(err, ENOMEM, "cannot move %s", run->job->domain);
}

void bm_pacing_measure(struct bm_run *run)
{
    if (!run->pacing || run->pacing->measured)
        return;
    run->pacing->measured = true;
    run->pacing->gentle = has_guest(run); /* it may have been started since */
    if (run->pacing->gentle)
        measure(run->pacing, run);
}

int bm_pacing_need(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_pacing_begin(run, err);

    if (!rc)
        bm_pacing_measure(run);
    return rc;
}

void bm_pacing_free(struct bm_pacing *pacing)
{
    if (!pacing)
        return;
    bm_writeback_stop(pacing->writeback);
    bm_latency_free(pacing->control);
    free(pacing);
}

bool bm_pacing_spares(const struct bm_pacing *pacing)
{
    return pacing && pacing->gentle && pacing->busy;
}

/* --- what the guest flushes --- */

/* Where it runs, unless that is where it ran before we came. */
static const char *active(struct bm_run *run, size_t i)
{
    const struct bm_layer *old = bm_job_old(&run->job->disks[i], 0);
    struct bm_disk *disk = bm_run_disk(run, i);
    const struct bm_layer *top = disk ? disk->chain.layers : NULL;

    if (!top || !disk->chain.n || top->type != BM_SOURCE_FILE || !top->path)
        return NULL;
    return old->path && !strcmp(top->path, old->path) ? NULL : top->path;
}

/* QEMU mirrors and merges into the new image and the mirror overlay. */
static size_t flushed(struct bm_run *run, char **paths)
{
    size_t n = 0;

    for (size_t i = 0; i < run->job->n_disks; i++) {
        const struct bm_job_disk *plan = &run->job->disks[i];
        const char *all[] = {active(run, i), plan->fixed.mirror_overlay,
                             bm_job_new_image(plan)->path};

        for (size_t k = 0; k < WRITTEN; k++)
            if (all[k] && (paths[n] = strdup(all[k])))
                n++;
    }
    return n;
}

void bm_pacing_follow(struct bm_pacing *pacing, struct bm_run *run)
{
    BM_FREE char **paths = NULL;

    if (!bm_pacing_spares(pacing))
        return;
    paths = calloc(run->job->n_disks, WRITTEN * sizeof *paths);
    if (!pacing->writeback)
        pacing->writeback = bm_writeback_start();
    if (paths && pacing->writeback)
        bm_writeback_follow(pacing->writeback, paths, flushed(run, paths));
}

void bm_pacing_rest(struct bm_pacing *pacing)
{
    if (pacing)
        bm_writeback_stop(BM_STEAL(pacing->writeback));
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
static void limits(const struct bm_pacing *pacing)
{
    bool spares = bm_pacing_spares(pacing);
    struct bm_latency_state state;

    bm_latency_read_state(pacing->control, &state);
    bm_rate_limit_set(pacing->rate_limit, state.rate);
    bm_rate_limit_set_request(pacing->rate_limit, spares ? REQUEST : 0);
    bm_rate_limit_set_rest(pacing->rate_limit,
                           spares ? 1 / (state.factor - 1) : 0);
}

void bm_pacing_take(struct bm_pacing *pacing, struct bm_rate_limit *rate_limit)
{
    pacing->rate_limit = rate_limit;
    pacing->jobs = false;
    pacing->moved = 0;
    pacing->tick_ms = bm_now_ms();
    if (!rate_limit)
        return;
    limits(pacing);
    bm_rate_limit_hold(rate_limit, pacing->held);
}

void bm_pacing_take_jobs(struct bm_pacing *pacing)
{
    bm_pacing_take(pacing, NULL);
    pacing->jobs = true;
}

void bm_pacing_take_jobs_too(struct bm_pacing *pacing)
{
    pacing->jobs = true;
}

/* 0: no limit. */
static uint64_t jobs_rate(const struct bm_pacing *pacing)
{
    uint64_t rate = bm_latency_rate(pacing->control), most;
    struct bm_latency_state state;

    if (!bm_pacing_spares(pacing))
        return rate;
    bm_latency_read_state(pacing->control, &state);
    most = (uint64_t)(PULL_MOST * (state.factor - 1));
    if (most < BM_LATENCY_RATE_MIN)
        most = BM_LATENCY_RATE_MIN;
    return rate && rate < most ? rate : most;
}

void bm_pacing_share(struct bm_pacing *pacing, size_t n, uint64_t *share)
{
    uint64_t rate = jobs_rate(pacing);

    if (pacing->jobs)
        *share = rate && rate < n ? 1 : rate / n;
}

void bm_pacing_hold(struct bm_pacing *pacing, bool held)
{
    pacing->held = held;
    pacing->have_last = false;
    pacing->tick_ms = bm_now_ms();
    if (pacing->rate_limit)
        bm_rate_limit_hold(pacing->rate_limit, held);
}

void bm_pacing_set(struct bm_pacing *pacing, double factor, uint64_t bandwidth)
{
    bm_latency_set(pacing->control, factor, bandwidth);
    pacing->gentle = factor > 0;
    if (pacing->rate_limit)
        limits(pacing);
}

void bm_pacing_tick(struct bm_pacing *pacing, struct bm_run *run,
                    uint64_t moved)
{
    int64_t ms = bm_now_ms() - pacing->tick_ms;
    struct bm_block_sample it;
    bool known;

    if ((!pacing->rate_limit && !pacing->jobs) || pacing->held || ms < TICK_MS)
        return;
    known = run->job->limits.guest_latency > 0 && sample(pacing, run, &it);
    (void)bm_latency_tick(pacing->control, ms, moved - pacing->moved,
                          known ? &it : NULL);
    if (known && it.requests >= AT_WORK)
        pacing->busy = true;
    if (pacing->rate_limit)
        limits(pacing);
    pacing->tick_ms += ms;
    pacing->moved = moved;
}

void bm_pacing_state(struct bm_pacing *pacing, struct bm_latency_state *out)
{
    bm_latency_read_state(pacing->control, out);
}
