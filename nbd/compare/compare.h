// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One proof of equality: every byte of two devices compared, block by block,
 * in parallel, extents-aware (two zero runs need no reading). All differing
 * ranges are found, not only the first.
 */
#ifndef BM_NBD_COMPARE_COMPARE_H
#define BM_NBD_COMPARE_COMPARE_H

#include "nbd/base/range.h"
#include "nbd/device/device.h"
#include "nbd/digest/digest.h"

#define BM_COMPARE_BLOCK 65536u /* bytes; differing ranges are so aligned */

struct bm_compare_result {
    bool equal;
    uint64_t size;           /* bytes compared, the whole device */
    uint64_t data_read;      /* bytes that had to be read, of each side */
    uint64_t different;      /* bytes in differing blocks */
    struct bm_range *ranges; /* ascending, merged; all of them */
    size_t n_ranges;
    bool truncated;     /* but for those beyond BM_COMPARE_MAX */
    const char *medium; /* the weaker of both: "cache" < "server" < "medium" */
    /* with digests: the blkhash of each side, SHA-256 (docs/pitfalls.md P80) */
    char root_a[BM_DIGEST_HEX], root_b[BM_DIGEST_HEX];
};
#define BM_COMPARE_MAX (1u << 20)
void bm_compare_result_clear(struct bm_compare_result *result);

/* Called from one thread, about every 200 ms; non-zero cancels (ECANCELED). */
typedef int (*bm_compare_progress)(void *opaque, uint64_t done, uint64_t total);

/* What is wanted. All zero: equal or not, and where. */
struct bm_compare_how {
    bool digests;    /* the roots too: what is equal is hashed once */
    bool zero_tail;  /* as qemu-img compare: different sizes are equal when the
                      * longer one's tail reads as zeroes */
    unsigned queues; /* at most so many threads; 0: one a core */
    bm_compare_progress progress; /* or NULL */
    void *opaque;
};

/* 0 with the result filled (equal or not), or a negative errno. Devices of
 * different size: equal is false and the tail is a differing range, but see
 * zero_tail. After an error the devices are good for nothing but closing. */
int bm_compare(struct bm_device *a, struct bm_device *b,
               const struct bm_compare_how *how,
               struct bm_compare_result *result, struct bm_error *err);

#endif
