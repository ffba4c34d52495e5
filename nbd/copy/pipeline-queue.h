// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The ring of pieces of one queue of a pipeline: each is asked for, digested
 * with others and handed over, and its slot is free again when it was written.
 * For pipeline-worker.c.
 *
 * Threads: each belongs to one thread.
 */
#ifndef BM_NBD_COPY_PIPELINE_QUEUE_H
#define BM_NBD_COPY_PIPELINE_QUEUE_H

#include "nbd/copy/pipeline.h"

#include <stdatomic.h>

struct bm_pipeline_ring;

/* done: bytes are added to it when they are. It and pipeline must outlive the
 * ring. */
struct bm_pipeline_ring *
bm_pipeline_ring_new(const struct bm_pipeline *pipeline, unsigned number,
                     atomic_uint_fast64_t *done, struct bm_error *err);
/* Nothing is in flight. Accepts NULL. */
void bm_pipeline_ring_free(struct bm_pipeline_ring *ring);

/* Bytes of a piece at most: a power of two, of whole blocks. */
size_t bm_pipeline_ring_chunk(const struct bm_pipeline_ring *ring);
/* No slot is free: take a turn before asking for more. */
bool bm_pipeline_ring_full(const struct bm_pipeline_ring *ring);

/* Starts to read [offset, offset + len), which is in one chunk, into a free
 * slot. */
int bm_pipeline_ring_ask(struct bm_pipeline_ring *ring, uint64_t offset,
                         size_t len, struct bm_error *err);
/* One step that is not asking for more, of a ring that holds something. */
int bm_pipeline_ring_step(struct bm_pipeline_ring *ring, struct bm_error *err);
/* Turns until the ring is empty, or one has failed. */
int bm_pipeline_ring_drain(struct bm_pipeline_ring *ring, struct bm_error *err);
/* After a failure: what is in flight ends, and is forgotten. */
void bm_pipeline_ring_settle(struct bm_pipeline_ring *ring);

#endif
