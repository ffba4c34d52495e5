// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One scan: a device read in parallel and its blocks digested; into a
 * manifest, or against one.
 */
#ifndef BM_NBD_COPY_SCAN_H
#define BM_NBD_COPY_SCAN_H

#include "nbd/copy/pipeline.h"
#include "nbd/digest/manifest.h"

struct bm_scan {
    struct bm_device *device;
    const struct bm_bitmap *only;     /* blocks to look at; NULL: all */
    struct bm_rate_limit *rate_limit; /* or NULL */
    unsigned queues;                  /* at most; 0: one a core */
    /* As of struct bm_pipeline. */
    int (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

/* Sets the entries of all blocks that are looked at. The manifest is of the
 * device's length. */
int bm_scan_hash(const struct bm_scan *scan, struct bm_manifest *into,
                 struct bm_error *err);

/* Sets in `differ`, by BM_DIGEST_BLOCK, the blocks that are not as the
 * manifest says; unknown ones always differ. The manifest may be shorter than
 * the device: what is beyond is not looked at. 0 whether any differ or not. */
int bm_scan_check(const struct bm_scan *scan, const struct bm_manifest *against,
                  struct bm_bitmap *differ, struct bm_error *err);

#endif
