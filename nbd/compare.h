// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One proof of equality: every byte of two devices compared, block by block,
 * in parallel, extents-aware (two zero runs need no reading). All differing
 * ranges are found, not only the first.
 */
#ifndef BM_COMPARE_H
#define BM_COMPARE_H

#include "nbd/device.h"

#define BM_COMPARE_BLOCK 65536u /* bytes; differing ranges are so aligned */

struct bm_range {
    uint64_t offset, length;
};

struct bm_compare_result {
    bool equal;
    uint64_t size;           /* bytes compared, the whole device */
    uint64_t data_read;      /* bytes that had to be read, of each side */
    uint64_t different;      /* bytes in differing blocks */
    struct bm_range *ranges; /* ascending, merged; at most BM_COMPARE_MAX */
    size_t n_ranges;
    bool truncated;     /* there are more ranges than listed */
    const char *medium; /* the weaker of both: "cache" < "server" < "medium" */
    char root_a[65], root_b[65]; /* the blkhash of each side, SHA-256 over
                                  * 64 KiB blocks, hex (performance.md C1) */
};
#define BM_COMPARE_MAX 4096
void bm_compare_result_clear(struct bm_compare_result *result);

/* Called from one thread, about every 200 ms; non-zero cancels (ECANCELED). */
typedef int (*bm_compare_progress)(void *opaque, uint64_t done, uint64_t total);

/* 0 with the result filled (equal or not), or a negative errno. Devices of
 * different size: equal is false and the tail is a differing range. After an
 * error the devices are good for nothing but closing. */
int bm_compare(struct bm_device *a, struct bm_device *b,
               bm_compare_progress progress, void *opaque,
               struct bm_compare_result *result, struct bm_error *err);

#endif
