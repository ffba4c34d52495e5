// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The bytes of a device flowing past, in parallel: one thread a queue takes
 * spans of 128 MiB, asks for their extents, reads what is data with several
 * requests in flight, digests whole batches of blocks, and hands the pieces
 * to the pipeline's owner, who may write them to a target on the same queue.
 * What hashes, verifies and copies is such a pipeline.
 *
 * Threads: the handlers are called from the workers, each with its queue;
 * progress from the thread that runs the pipeline.
 */
#ifndef BM_NBD_COPY_PIPELINE_H
#define BM_NBD_COPY_PIPELINE_H

#include "nbd/map/bitmap.h"
#include "nbd/device/device.h"
#include "nbd/digest/digest.h"
#include "nbd/thread/rate-limit.h"

#define BM_SPAN (UINT64_C(128) << 20)
/* Zeroes inside data are looked for in steps of this. */
#define BM_SPARSE 4096u

/* Blocks of BM_DIGEST_BLOCK that follow each other; only the last one of the
 * device is short. */
struct bm_piece {
    uint64_t offset;
    size_t len;
    char *data;
    size_t n_blocks;
    uint8_t *mds; /* with a digest: of its blocks */
    bool *zero;   /* with a digest: which blocks are all zero */
    /* Requests of the handler on the target's queue, len / BM_SPARSE + 1 at
     * most; the piece is done when they are. */
    struct bm_request *writes;
    size_t n_writes;
};

struct bm_pipeline {
    struct bm_device *source;
    struct bm_device *target;         /* or NULL */
    const struct bm_bitmap *only;     /* blocks to look at; NULL: all */
    const struct bm_digest *digest;   /* NULL: none */
    struct bm_rate_limit *rate_limit; /* or NULL */
    unsigned queues;                  /* at most; 0: one a core */

    /* A piece was read (and digested). */
    int (*data)(void *opaque, unsigned queue, struct bm_piece *piece,
                struct bm_error *err);
    /* Its writes are done, without an error; or NULL. */
    int (*written)(void *opaque, uint64_t offset, uint64_t length,
                   struct bm_error *err);
    /* Whole blocks that read as zeroes and were not read (but the last one of
     * the device may be short). */
    int (*zeroes)(void *opaque, unsigned queue, uint64_t offset,
                  uint64_t length, struct bm_error *err);
    /* A sector in there cannot be read; the pipeline fails. Or NULL. */
    void (*unread)(void *opaque, uint64_t offset, uint64_t length);
    /* Now and then, while nothing of the queue's is being waited for; or NULL.
     * What it does on the queue must leave alone what is in flight there. */
    int (*pause)(void *opaque, unsigned queue, struct bm_error *err);
    /* About every 200 ms; non-zero cancels (-ECANCELED). Or NULL. */
    int (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

/* 0: everything flowed by, and the source is intact. Else the first error. */
int bm_pipeline_run(const struct bm_pipeline *pipeline, struct bm_error *err);

#endif
