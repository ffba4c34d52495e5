// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The pace of a move: a rate that keeps the guest's mean I/O latency under
 * factor times what it was before. Pure logic: it is fed with samples of the
 * guest and with what the copy moved, and knows neither clock nor libvirt.
 *
 *   bm_latency_measure  each 250 ms or so before the move, until it says true
 *   bm_latency_tick     each 500 ms or so while data moves
 *
 * It starts at 256 MiB/s when the guest does I/O, and without a limit when it
 * does not. Latency above the bound cuts the rate in proportion, by up to
 * five a tick; below it the rate grows by up to four a tick, and the limit
 * goes away once the copy does not reach it. A speed that did harm is tried
 * again only after a while. The rate is never less than 4 MiB/s: a move must
 * end. What the guest sees at next to no speed is its own doing: if that is
 * worse than before the move, then it is the baseline for a minute.
 *
 * Threads: any.
 */
#ifndef BM_RUN_LATENCY_CONTROL_H
#define BM_RUN_LATENCY_CONTROL_H

#include "snapshot/domain/block-stats.h"

#include <stdbool.h>
#include <stdint.h>

#define BM_LATENCY_RATE_MIN (UINT64_C(4) << 20) /* bytes a second */

struct bm_latency_control;

/* What to tell the user. */
struct bm_latency_state {
    uint64_t rate;      /* bytes a second, 0: no limit */
    double factor;      /* 0: off, then the next three mean nothing */
    double latency_us;  /* the guest's as last judged; 0: it did no I/O */
    double baseline_us; /* at least 250; 1000 of a guest that was idle */
    double bound_us;    /* factor times that */
    bool limited;       /* by the latency, not just by the bandwidth */
    bool learned;       /* the baseline is of now, not from before the move */
};

/* factor 0: off (else BM_GUEST_LATENCY_MIN at least); bandwidth: a cap in bytes
 * a second that holds in any case, also below the minimum; 0: none. NULL: out
 * of memory. */
struct bm_latency_control *bm_latency_new(double factor, uint64_t bandwidth);
void bm_latency_free(struct bm_latency_control *control); /* accepts NULL */
/* While it runs. Off forgets all limits, not the baseline. */
void bm_latency_set(struct bm_latency_control *control, double factor,
                    uint64_t bandwidth);

/* Adds a sample to the baseline, before the first tick. True: enough, which
 * is after 3 s, after 1 s if there was much I/O, or at once when off. */
bool bm_latency_measure(struct bm_latency_control *control,
                        const struct bm_block_sample *sample);

/*
 * ms passed, in which our copy or block jobs moved so many bytes; sample is
 * what the guest did meanwhile. NULL: that could not be read, so the rate
 * stays. Returns the rate to hold from now on: bytes a second, 0: no limit. A
 * tick of less than 400 ms or with few requests is gathered with the next
 * ones, a second's worth at most.
 */
uint64_t bm_latency_tick(struct bm_latency_control *control, int64_t ms,
                         uint64_t moved, const struct bm_block_sample *sample);

/* What the last tick returned, or what the first one will begin from. */
uint64_t bm_latency_rate(struct bm_latency_control *control);
void bm_latency_read_state(struct bm_latency_control *control,
                           struct bm_latency_state *out);

#endif
