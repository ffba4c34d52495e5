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

struct bm_throttle;

/* rate in bytes a second, 0: no limit. A burst of 100 ms is allowed. NULL:
 * out of memory. */
struct bm_throttle *bm_throttle_new(uint64_t rate);
void bm_throttle_free(struct bm_throttle *throttle); /* accepts NULL */
void bm_throttle_set(struct bm_throttle *throttle, uint64_t rate);
uint64_t bm_throttle_rate(struct bm_throttle *throttle);
/* Held, it lets nothing pass, whatever the rate; what was let pass before is
 * not stopped. */
void bm_throttle_hold(struct bm_throttle *throttle, bool held);

/* The largest request that is to be made, in bytes; 0, as it is at first: any.
 * Whoever else uses the medium waits for the whole of one. */
void bm_throttle_set_request(struct bm_throttle *throttle, uint32_t bytes);
uint32_t bm_throttle_request(struct bm_throttle *throttle);

/* How long the medium is left to others after each request, as a multiple of
 * the time that the request took, however fast it is; 0, as it is at first: not
 * at all. */
void bm_throttle_set_rest(struct bm_throttle *throttle, double rest);
/* How long one of so many workers rests after so much work, both in
 * nanoseconds: each has its share of what all may take. 20 ms at most for each
 * of them. */
int64_t bm_throttle_rest(struct bm_throttle *throttle, int64_t worked,
                         unsigned workers);

/* Takes bytes out of the bucket, which may go into debt: the milliseconds that
 * the caller must wait before it does the work (it may look for a cancel or
 * a new rate meanwhile: what remains is asked with bytes 0). */
int bm_throttle_take(struct bm_throttle *throttle, uint64_t bytes);

#endif
