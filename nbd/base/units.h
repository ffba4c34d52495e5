// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sizes, rates and times as people write them, read strictly. Suffixes
 * K, M, G, T are powers of 1024. All functions are
 * thread-safe and touch *out only on success.
 */
#ifndef BM_NBD_BASE_UNITS_H
#define BM_NBD_BASE_UNITS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Host-monotonic and wall clock in milliseconds. */
int64_t bm_now_ms(void);
int64_t bm_wall_ms(void);
int64_t bm_now_ns(void); /* host-monotonic, in nanoseconds */

/* CLOCK_MONOTONIC in timeout_ms, for pthread_cond_timedwait on a condition made
 * by bm_cond_init. */
struct timespec bm_deadline(int timeout_ms);
void bm_cond_init(pthread_cond_t *cond);

/* All of it: since the epoch for the times of stat(2). */
int64_t bm_nanoseconds(const struct timespec *time);

/* Sleep; go on after a signal. */
void bm_sleep_ms(int ms);
void bm_sleep_ns(int64_t ns);

/* "64M", "10G", "4096": bytes, 1 to INT64_MAX. 0, -EINVAL or -ERANGE. */
int bm_parse_size(const char *text, uint64_t *out);

/* A whole number in [min, max]. 0, -EINVAL or -ERANGE. */
int bm_parse_number(const char *text, int64_t min, int64_t max, int64_t *out);

/* "1.5 GiB" and the like, into buf; returns buf. */
const char *bm_format_size(uint64_t bytes, char *buf, size_t size);

#endif
