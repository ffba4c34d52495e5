// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A token bucket: bytes a second, changed while it runs; how much of it at a
 * time; and how much rest between. Threads: any.
 */
#ifndef BM_NBD_THREAD_RATE_LIMIT_H
#define BM_NBD_THREAD_RATE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct bm_rate_limit;

/* rate in bytes a second, 0: no limit. A burst of 100 ms is allowed. NULL:
 * out of memory. */
struct bm_rate_limit *bm_rate_limit_new(uint64_t rate);
void bm_rate_limit_free(struct bm_rate_limit *rate_limit); /* accepts NULL */
void bm_rate_limit_set(struct bm_rate_limit *rate_limit, uint64_t rate);
uint64_t bm_rate_limit_rate(struct bm_rate_limit *rate_limit);
/* Held, it lets nothing pass, whatever the rate; what was let pass before is
 * not stopped. */
void bm_rate_limit_hold(struct bm_rate_limit *rate_limit, bool held);

/* The largest request that is to be made, in bytes; 0, as it is at first: any.
 * Whoever else uses the medium waits for the whole of one. */
void bm_rate_limit_set_request(struct bm_rate_limit *rate_limit,
                               uint32_t bytes);
uint32_t bm_rate_limit_request(struct bm_rate_limit *rate_limit);

/* How long the medium is left to others after each request, as a multiple of
 * the time that the request took, however fast it is; 0, as it is at first: not
 * at all. */
void bm_rate_limit_set_rest(struct bm_rate_limit *rate_limit, double rest);
/* How long one of so many workers rests after so much work, both in
 * nanoseconds: each has its share of what all may take. 20 ms at most for each
 * of them. */
int64_t bm_rate_limit_rest(struct bm_rate_limit *rate_limit, int64_t worked,
                           unsigned workers);

/* Takes bytes out of the bucket, which may go into debt: the milliseconds that
 * the caller must wait before it does the work (it may look for a cancel or
 * a new rate meanwhile: what remains is asked with bytes 0). */
int bm_rate_limit_take(struct bm_rate_limit *rate_limit, uint64_t bytes);

#endif
