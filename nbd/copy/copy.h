// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One copy: the bytes of a device into another one, sparse both ways, with
 * the digests taken on the way through.
 *
 * Threads: handlers are called by workers, one at a time.
 */
#ifndef BM_NBD_COPY_COPY_H
#define BM_NBD_COPY_COPY_H

#include "nbd/copy/pipeline.h"
#include "nbd/digest/manifest.h"

struct bm_copy {
    struct bm_device *source;
    struct bm_device *target;      /* writable, at least as large */
    const struct bm_bitmap *only;  /* blocks to copy; NULL: all */
    const struct bm_bitmap *parts; /* of those, by smaller blocks, no smaller
                                    * than BM_SPARSE, what is written; NULL: all
                                    * that was read */
    bool as_it_is;               /* zeroes that were read are written as data */
    struct bm_manifest *digests; /* gets them; NULL: none are taken */
    struct bm_bitmap *written;   /* or NULL: gets the blocks whose writes are
                                  * done, by BM_DIGEST_BLOCK */
    struct bm_rate_limit *rate_limit; /* or NULL */
    unsigned queues;                  /* at most; 0: one a core */
    /* About every 5 s, when what `written` says was flushed: or NULL. */
    int (*checkpoint)(void *opaque, const struct bm_bitmap *written,
                      struct bm_error *err);
    /* As of struct bm_pipeline. */
    int (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

struct bm_copy_result {
    uint64_t data;   /* bytes written */
    uint64_t zeroes; /* bytes that were zeroed, or were zero already */
    /* in there the source has a bad sector, which ended the copy; 0 bytes: it
     * has not */
    uint64_t unread_at, unread;
};

/* 0: all was copied, and flushed. Else what is in `written` was written, but
 * only what a checkpoint saw is durable. */
int bm_copy_run(const struct bm_copy *copy, struct bm_copy_result *result,
                struct bm_error *err);

#endif
