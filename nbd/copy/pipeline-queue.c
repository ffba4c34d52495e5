// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/copy/pipeline-queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK BM_DIGEST_BLOCK
/* Bytes of a ring: what a core's own cache holds where nothing is in flight,
 * and enough in flight to keep a server busy (QEMU serves 16 of a
 * connection). */
#define NEAR ((size_t)1 << 20)
#define FAR ((size_t)4 << 20)
#define CHUNK_MAX (BM_HASH_BATCH * (size_t)BLOCK)

struct slot {
    struct bm_piece piece;
    struct bm_request read;
};

/*
 * The ring: slots [freed, taken) have writes in flight, [taken, asked) reads.
 * The numbers only grow; a slot is its number modulo n_slots.
 */
struct bm_pipeline_ring {
    const struct bm_pipeline *pipeline;
    unsigned number; /* of the queue */
    atomic_uint_fast64_t *done;
    struct bm_hasher *hasher;  /* NULL: no digests */
    struct bm_queue queues[2]; /* source, target */
    size_t chunk;
    unsigned n_slots, batch;
    unsigned freed, taken, asked;
    struct slot *slots;
    char *buffers;
};

static size_t bigger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Whether a request may be in flight after its submit. */
static bool far(const struct bm_pipeline *pipeline)
{
    return pipeline->source->ops->poll ||
           (pipeline->target && pipeline->target->ops->poll);
}

static void choose_sizes(struct bm_pipeline_ring *ring)
{
    const struct bm_pipeline *pipeline = ring->pipeline;
    size_t bytes = far(pipeline) ? FAR : NEAR;
    uint32_t most =
        pipeline->rate_limit ? bm_rate_limit_request(pipeline->rate_limit) : 0;

    ring->chunk = bigger(pipeline->source->chunk,
                         pipeline->target ? pipeline->target->chunk : BLOCK);
    ring->chunk = bigger(ring->chunk, BLOCK);
    if (ring->chunk > CHUNK_MAX)
        ring->chunk = CHUNK_MAX;
    if (most && ring->chunk > most)
        ring->chunk = bigger(most, BLOCK);
    ring->n_slots = (unsigned)(bytes / ring->chunk);
    ring->batch = pipeline->digest ? (unsigned)(CHUNK_MAX / ring->chunk) : 1;
}

static int make_slot(struct bm_pipeline_ring *ring, struct slot *slot,
                     char *buffer)
{
    const struct bm_pipeline *pipeline = ring->pipeline;
    size_t blocks = ring->chunk / BLOCK;
    struct bm_piece *piece = &slot->piece;

    piece->data = buffer;
    if (pipeline->target)
        piece->writes =
            calloc(ring->chunk / BM_SPARSE + 1, sizeof *piece->writes);
    if (pipeline->digest) {
        piece->mds = malloc(blocks * pipeline->digest->len);
        piece->zero = malloc(blocks * sizeof *piece->zero);
    }
    return (pipeline->target && !piece->writes) ||
                   (pipeline->digest && (!piece->mds || !piece->zero))
               ? -ENOMEM
               : 0;
}

static int make_slots(struct bm_pipeline_ring *ring)
{
    ring->slots = calloc(ring->n_slots, sizeof *ring->slots);
    ring->buffers = aligned_alloc(BM_BUFFER_ALIGN, ring->n_slots * ring->chunk);
    if (!ring->slots || !ring->buffers)
        return -ENOMEM;
    for (unsigned i = 0; i < ring->n_slots; i++)
        if (make_slot(ring, &ring->slots[i], ring->buffers + i * ring->chunk) !=
            0)
            return -ENOMEM;
    return 0;
}

struct bm_pipeline_ring *
bm_pipeline_ring_new(const struct bm_pipeline *pipeline, unsigned number,
                     atomic_uint_fast64_t *done, struct bm_error *err)
{
    struct bm_pipeline_ring *ring = calloc(1, sizeof *ring);

    if (!ring) {
        bm_fail_errno(err, ENOMEM, "cannot read %s", pipeline->source->name);
        return NULL;
    }
    ring->pipeline = pipeline;
    ring->number = number;
    ring->done = done;
    ring->queues[0] = (struct bm_queue){pipeline->source, number};
    ring->queues[1] = (struct bm_queue){pipeline->target, number};
    choose_sizes(ring);
    if (make_slots(ring) != 0)
        bm_fail_errno(err, ENOMEM, "cannot read %s", pipeline->source->name);
    else if (!pipeline->digest ||
             (ring->hasher = bm_hasher_new(pipeline->digest, err)))
        return ring;
    bm_pipeline_ring_free(ring);
    return NULL;
}

void bm_pipeline_ring_free(struct bm_pipeline_ring *ring)
{
    if (!ring)
        return;
    for (unsigned i = 0; ring->slots && i < ring->n_slots; i++) {
        free(ring->slots[i].piece.writes);
        free(ring->slots[i].piece.mds);
        free(ring->slots[i].piece.zero);
    }
    free(ring->slots);
    free(ring->buffers);
    bm_hasher_free(ring->hasher);
    free(ring);
}

size_t bm_pipeline_ring_chunk(const struct bm_pipeline_ring *ring)
{
    return ring->chunk;
}

bool bm_pipeline_ring_full(const struct bm_pipeline_ring *ring)
{
    return ring->asked - ring->freed == ring->n_slots;
}

static struct slot *slot_at(struct bm_pipeline_ring *ring, unsigned number)
{
    return &ring->slots[number % ring->n_slots];
}

static int wait_for(struct bm_pipeline_ring *ring, unsigned side,
                    struct bm_request *req, struct bm_error *err)
{
    int rc = bm_device_wait(ring->queues, req, err);

    if (rc == 0 && req->error)
        rc = bm_request_failed(ring->queues[side].dev, req, err);
    return rc;
}

/* Reads the piece to its end. */
static int wait_read(struct bm_pipeline_ring *ring, struct slot *slot,
                     struct bm_error *err)
{
    const struct bm_pipeline *pipeline = ring->pipeline;
    int rc = wait_for(ring, 0, &slot->read, err);

    if (rc != 0 && pipeline->unread && bm_is_bad_sector(slot->read.error))
        pipeline->unread(pipeline->opaque, slot->read.offset, slot->read.len);
    return rc;
}

/* --- the three steps of a slot --- */

int bm_pipeline_ring_ask(struct bm_pipeline_ring *ring, uint64_t offset,
                         size_t len, struct bm_error *err)
{
    struct slot *slot = slot_at(ring, ring->asked);
    int rc;

    slot->piece.offset = offset;
    slot->piece.len = len;
    slot->piece.n_blocks = (len + BLOCK - 1) / BLOCK;
    slot->piece.n_writes = 0;
    slot->read = (struct bm_request){
        .op = BM_READ, .buf = slot->piece.data, .len = len, .offset = offset};
    rc = bm_device_submit(ring->pipeline->source, ring->number, &slot->read,
                          err);
    ring->asked += rc == 0;
    return rc;
}

static int digest(struct bm_pipeline_ring *ring, unsigned n)
{
    const struct bm_digest *d = ring->pipeline->digest;
    const void *blocks[BM_HASH_BATCH] = {NULL};
    size_t lens[BM_HASH_BATCH] = {0}, count = 0;
    uint8_t mds[BM_HASH_BATCH * BM_DIGEST_MAX], *md = mds;
    bool zero[BM_HASH_BATCH], *z = zero;

    for (unsigned i = 0; i < n; i++) {
        const struct bm_piece *piece = &slot_at(ring, ring->taken + i)->piece;

        for (size_t at = 0; at < piece->len; at += BLOCK, count++) {
            blocks[count] = piece->data + at;
            lens[count] = piece->len - at < BLOCK ? piece->len - at : BLOCK;
        }
    }
    if (bm_hasher_blocks(ring->hasher, count, blocks, lens, mds, zero) != 0)
        return -EIO;
    for (unsigned i = 0; i < n; i++) {
        struct bm_piece *piece = &slot_at(ring, ring->taken + i)->piece;

        memcpy(piece->mds, md, piece->n_blocks * d->len);
        memcpy(piece->zero, z, piece->n_blocks * sizeof *z);
        md += piece->n_blocks * d->len;
        z += piece->n_blocks;
    }
    return 0;
}

/* Digests and hands over the next n pieces. */
static int take(struct bm_pipeline_ring *ring, unsigned n, struct bm_error *err)
{
    const struct bm_pipeline *pipeline = ring->pipeline;
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < n; i++)
        rc = wait_read(ring, slot_at(ring, ring->taken + i), err);
    if (rc == 0 && pipeline->digest && digest(ring, n) != 0)
        rc = bm_fail(err, EIO, "cannot compute %s", pipeline->digest->name);
    for (unsigned i = 0; rc == 0 && i < n; i++, ring->taken++)
        rc = pipeline->data(pipeline->opaque, ring->number,
                            &slot_at(ring, ring->taken)->piece, err);
    return rc;
}

static bool writes_done(const struct bm_piece *piece)
{
    for (size_t i = 0; i < piece->n_writes; i++)
        if (!piece->writes[i].done)
            return false;
    return true;
}

static int free_slot(struct bm_pipeline_ring *ring, struct bm_error *err)
{
    const struct bm_pipeline *pipeline = ring->pipeline;
    struct bm_piece *piece = &slot_at(ring, ring->freed)->piece;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < piece->n_writes; i++)
        rc = wait_for(ring, 1, &piece->writes[i], err);
    if (rc != 0)
        return rc;
    ring->freed++;
    atomic_fetch_add_explicit(ring->done, piece->len, memory_order_relaxed);
    return pipeline->written ? pipeline->written(pipeline->opaque,
                                                 piece->offset, piece->len, err)
                             : 0;
}

/* What is written goes first, then a whole batch; what is left at the end. */
int bm_pipeline_ring_step(struct bm_pipeline_ring *ring, struct bm_error *err)
{
    unsigned waiting = ring->asked - ring->taken;

    if (ring->freed < ring->taken &&
        (waiting == 0 || writes_done(&slot_at(ring, ring->freed)->piece)))
        return free_slot(ring, err);
    return take(ring, waiting < ring->batch ? waiting : ring->batch, err);
}

int bm_pipeline_ring_drain(struct bm_pipeline_ring *ring, struct bm_error *err)
{
    int rc = 0;

    while (rc == 0 && ring->freed < ring->asked)
        rc = bm_pipeline_ring_step(ring, err);
    return rc;
}

void bm_pipeline_ring_settle(struct bm_pipeline_ring *ring)
{
    for (; ring->taken < ring->asked; ring->taken++)
        (void)bm_device_wait(ring->queues, &slot_at(ring, ring->taken)->read,
                             NULL);
    for (; ring->freed < ring->taken; ring->freed++) {
        struct bm_piece *piece = &slot_at(ring, ring->freed)->piece;

        for (size_t i = 0; i < piece->n_writes; i++)
            (void)bm_device_wait(ring->queues, &piece->writes[i], NULL);
    }
}
