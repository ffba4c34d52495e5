// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The ring of pieces of one lane of a flow: each is asked for, digested with
 * others and handed over, and its slot is free again when it was written. For
 * pipeline-worker.c.
 *
 * Threads: each belongs to one thread.
 */
#ifndef BM_NBD_COPY_PIPELINE_QUEUE_H
#define BM_NBD_COPY_PIPELINE_QUEUE_H

#include "nbd/copy/pipeline.h"

#include <stdatomic.h>

struct bm_flow_ring;

/* done: bytes are added to it when they are. It and flow must outlive the
 * ring. */
struct bm_flow_ring *bm_flow_ring_new(const struct bm_flow *flow,
                                      unsigned number,
                                      atomic_uint_fast64_t *done,
                                      struct bm_error *err);
/* Nothing is in flight. Accepts NULL. */
void bm_flow_ring_free(struct bm_flow_ring *ring);

/* Bytes of a piece at most: a power of two, of whole blocks. */
size_t bm_flow_ring_chunk(const struct bm_flow_ring *ring);
/* No slot is free: take a turn before asking for more. */
bool bm_flow_ring_full(const struct bm_flow_ring *ring);

/* Starts to read [offset, offset + len), which is in one chunk, into a free
 * slot. */
int bm_flow_ring_ask(struct bm_flow_ring *ring, uint64_t offset, size_t len,
                     struct bm_error *err);
/* One step that is not asking for more, of a ring that holds something. */
int bm_flow_ring_turn(struct bm_flow_ring *ring, struct bm_error *err);
/* Turns until the ring is empty, or one has failed. */
int bm_flow_ring_drain(struct bm_flow_ring *ring, struct bm_error *err);
/* After a failure: what is in flight ends, and is forgotten. */
void bm_flow_ring_settle(struct bm_flow_ring *ring);

#endif
