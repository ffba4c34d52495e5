// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/flow-lane.h"

#include "nbd/cleanup.h"
#include "nbd/units.h"

#include <errno.h>
#include <string.h>

#define BLOCK BM_DIGEST_BLOCK
#define RUNS 128 /* extents fetched at a time */
/* Bytes of a ring: what a core's own cache holds where nothing is in flight,
 * and enough in flight to keep a server busy (QEMU serves 16 of a
 * connection). */
#define NEAR ((size_t)1 << 20)
#define FAR ((size_t)4 << 20)
#define CHUNK_MAX (BM_HASH_BATCH * (size_t)BLOCK)
#define WAIT_MS 100

struct slot {
    struct bm_piece piece;
    struct bm_request read;
};

/*
 * The ring: slots [freed, taken) have writes in flight, [taken, asked) reads.
 * The numbers only grow; a slot is its number modulo n_slots.
 */
struct bm_flow_lane {
    const struct bm_flow *flow;
    unsigned number;
    const atomic_bool *stop;
    atomic_uint_fast64_t *done;
    struct bm_hasher *hasher; /* NULL: no digests */
    struct bm_lane lanes[2];  /* source, target */
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
static bool far(const struct bm_flow *flow)
{
    return flow->source->ops->poll || (flow->target && flow->target->ops->poll);
}

static void choose_sizes(struct bm_flow_lane *lane)
{
    const struct bm_flow *flow = lane->flow;
    size_t ring = far(flow) ? FAR : NEAR;

    lane->chunk =
        bigger(flow->source->chunk, flow->target ? flow->target->chunk : BLOCK);
    lane->chunk = bigger(lane->chunk, BLOCK);
    if (lane->chunk > CHUNK_MAX)
        lane->chunk = CHUNK_MAX;
    lane->n_slots = (unsigned)(ring / lane->chunk);
    lane->batch = flow->digest ? (unsigned)(CHUNK_MAX / lane->chunk) : 1;
}

static int make_slot(struct bm_flow_lane *lane, struct slot *slot, char *buffer)
{
    const struct bm_flow *flow = lane->flow;
    size_t blocks = lane->chunk / BLOCK;
    struct bm_piece *piece = &slot->piece;

    piece->data = buffer;
    if (flow->target)
        piece->writes =
            calloc(lane->chunk / BM_SPARSE + 1, sizeof *piece->writes);
    if (flow->digest) {
        piece->mds = malloc(blocks * flow->digest->len);
        piece->zero = malloc(blocks * sizeof *piece->zero);
    }
    return (flow->target && !piece->writes) ||
                   (flow->digest && (!piece->mds || !piece->zero))
               ? -ENOMEM
               : 0;
}

static int make_slots(struct bm_flow_lane *lane)
{
    lane->slots = calloc(lane->n_slots, sizeof *lane->slots);
    lane->buffers = aligned_alloc(BM_BUFFER_ALIGN, lane->n_slots * lane->chunk);
    if (!lane->slots || !lane->buffers)
        return -ENOMEM;
    for (unsigned i = 0; i < lane->n_slots; i++)
        if (make_slot(lane, &lane->slots[i], lane->buffers + i * lane->chunk) !=
            0)
            return -ENOMEM;
    return 0;
}

struct bm_flow_lane *bm_flow_lane_new(const struct bm_flow *flow,
                                      unsigned number, const atomic_bool *stop,
                                      atomic_uint_fast64_t *done,
                                      struct bm_error *err)
{
    struct bm_flow_lane *lane = calloc(1, sizeof *lane);

    if (!lane) {
        bm_fail_errno(err, ENOMEM, "cannot read %s", flow->source->name);
        return NULL;
    }
    lane->flow = flow;
    lane->number = number;
    lane->stop = stop;
    lane->done = done;
    lane->lanes[0] = (struct bm_lane){flow->source, number};
    lane->lanes[1] = (struct bm_lane){flow->target, number};
    choose_sizes(lane);
    if (make_slots(lane) != 0)
        bm_fail_errno(err, ENOMEM, "cannot read %s", flow->source->name);
    else if (!flow->digest || (lane->hasher = bm_hasher_new(flow->digest, err)))
        return lane;
    bm_flow_lane_free(lane);
    return NULL;
}

void bm_flow_lane_free(struct bm_flow_lane *lane)
{
    if (!lane)
        return;
    for (unsigned i = 0; lane->slots && i < lane->n_slots; i++) {
        free(lane->slots[i].piece.writes);
        free(lane->slots[i].piece.mds);
        free(lane->slots[i].piece.zero);
    }
    free(lane->slots);
    free(lane->buffers);
    bm_hasher_free(lane->hasher);
    free(lane);
}

static struct slot *slot_at(struct bm_flow_lane *lane, unsigned number)
{
    return &lane->slots[number % lane->n_slots];
}

static int stopped(const struct bm_flow_lane *lane, struct bm_error *err)
{
    if (!atomic_load_explicit(lane->stop, memory_order_relaxed))
        return 0;
    return bm_fail_errno(err, ECANCELED, "cannot read %s",
                         lane->flow->source->name);
}

/* Waits for its turn; a cancel or a new rate is seen soon. */
static int pace(struct bm_flow_lane *lane, size_t len, struct bm_error *err)
{
    struct bm_throttle *throttle = lane->flow->throttle;
    int rc = 0, ms = throttle ? bm_throttle_take(throttle, len) : 0;

    while (rc == 0 && ms > 0) {
        bm_sleep_ms(ms < WAIT_MS ? ms : WAIT_MS);
        rc = stopped(lane, err);
        ms = bm_throttle_take(throttle, 0);
    }
    return rc;
}

static int wait_for(struct bm_flow_lane *lane, unsigned side,
                    struct bm_request *req, struct bm_error *err)
{
    int rc = bm_device_wait(lane->lanes, req, err);

    if (rc == 0 && req->error)
        rc = bm_request_failed(lane->lanes[side].dev, req, err);
    return rc;
}

/* --- the three steps of a slot --- */

static int ask(struct bm_flow_lane *lane, uint64_t offset, size_t len,
               struct bm_error *err)
{
    struct slot *slot = slot_at(lane, lane->asked);
    int rc = pace(lane, len, err);

    if (rc != 0)
        return rc;
    slot->piece.offset = offset;
    slot->piece.len = len;
    slot->piece.n_blocks = (len + BLOCK - 1) / BLOCK;
    slot->piece.n_writes = 0;
    slot->read = (struct bm_request){
        .op = BM_READ, .buf = slot->piece.data, .len = len, .offset = offset};
    rc = bm_device_submit(lane->flow->source, lane->number, &slot->read, err);
    lane->asked += rc == 0;
    return rc;
}

static int digest(struct bm_flow_lane *lane, unsigned n)
{
    const struct bm_digest *d = lane->flow->digest;
    const void *blocks[BM_HASH_BATCH] = {NULL};
    size_t lens[BM_HASH_BATCH] = {0}, count = 0;
    uint8_t mds[BM_HASH_BATCH * BM_DIGEST_MAX], *md = mds;
    bool zero[BM_HASH_BATCH], *z = zero;

    for (unsigned i = 0; i < n; i++) {
        const struct bm_piece *piece = &slot_at(lane, lane->taken + i)->piece;

        for (size_t at = 0; at < piece->len; at += BLOCK, count++) {
            blocks[count] = piece->data + at;
            lens[count] = piece->len - at < BLOCK ? piece->len - at : BLOCK;
        }
    }
    if (bm_hasher_blocks(lane->hasher, count, blocks, lens, mds, zero) != 0)
        return -EIO;
    for (unsigned i = 0; i < n; i++) {
        struct bm_piece *piece = &slot_at(lane, lane->taken + i)->piece;

        memcpy(piece->mds, md, piece->n_blocks * d->len);
        memcpy(piece->zero, z, piece->n_blocks * sizeof *z);
        md += piece->n_blocks * d->len;
        z += piece->n_blocks;
    }
    return 0;
}

/* Digests and hands over the next n pieces. */
static int take(struct bm_flow_lane *lane, unsigned n, struct bm_error *err)
{
    const struct bm_flow *flow = lane->flow;
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < n; i++)
        rc = wait_for(lane, 0, &slot_at(lane, lane->taken + i)->read, err);
    if (rc == 0 && flow->digest && digest(lane, n) != 0)
        rc = bm_fail(err, EIO, "cannot compute %s", flow->digest->name);
    for (unsigned i = 0; rc == 0 && i < n; i++, lane->taken++)
        rc = flow->data(flow->opaque, lane->number,
                        &slot_at(lane, lane->taken)->piece, err);
    return rc;
}

static bool writes_done(const struct bm_piece *piece)
{
    for (size_t i = 0; i < piece->n_writes; i++)
        if (!piece->writes[i].done)
            return false;
    return true;
}

static int free_slot(struct bm_flow_lane *lane, struct bm_error *err)
{
    const struct bm_flow *flow = lane->flow;
    struct bm_piece *piece = &slot_at(lane, lane->freed)->piece;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < piece->n_writes; i++)
        rc = wait_for(lane, 1, &piece->writes[i], err);
    if (rc != 0)
        return rc;
    lane->freed++;
    atomic_fetch_add_explicit(lane->done, piece->len, memory_order_relaxed);
    return flow->written
               ? flow->written(flow->opaque, piece->offset, piece->len, err)
               : 0;
}

/* One step that is not asking for more: what is written goes first, then a
 * whole batch; what is left at the end. */
static int turn(struct bm_flow_lane *lane, struct bm_error *err)
{
    unsigned waiting = lane->asked - lane->taken;

    if (lane->freed < lane->taken &&
        (waiting == 0 || writes_done(&slot_at(lane, lane->freed)->piece)))
        return free_slot(lane, err);
    return take(lane, waiting < lane->batch ? waiting : lane->batch, err);
}

static int drain(struct bm_flow_lane *lane, struct bm_error *err)
{
    int rc = 0;

    while (rc == 0 && lane->freed < lane->asked)
        rc = turn(lane, err);
    return rc;
}

/* After a failure: what is in flight must end before its buffers go. */
static void settle(struct bm_flow_lane *lane)
{
    for (; lane->taken < lane->asked; lane->taken++)
        (void)bm_device_wait(lane->lanes, &slot_at(lane, lane->taken)->read,
                             NULL);
    for (; lane->freed < lane->taken; lane->freed++) {
        struct bm_piece *piece = &slot_at(lane, lane->freed)->piece;

        for (size_t i = 0; i < piece->n_writes; i++)
            (void)bm_device_wait(lane->lanes, &piece->writes[i], NULL);
    }
}

/* --- a span --- */

/* Between two steps: is it to stop, has the owner something to do? */
static int breathe(struct bm_flow_lane *lane, struct bm_error *err)
{
    const struct bm_flow *flow = lane->flow;
    int rc = stopped(lane, err);

    return rc || !flow->pause ? rc
                              : flow->pause(flow->opaque, lane->number, err);
}

static int read_run(struct bm_flow_lane *lane, uint64_t offset, uint64_t end,
                    struct bm_error *err)
{
    int rc = 0;

    while (rc == 0 && offset < end) {
        /* chunks stay aligned */
        uint64_t len = lane->chunk - offset % lane->chunk;

        if (len > end - offset)
            len = end - offset;
        rc = breathe(lane, err);
        if (rc == 0 && lane->asked - lane->freed == lane->n_slots) {
            rc = turn(lane, err);
            continue;
        }
        if (rc == 0)
            rc = ask(lane, offset, (size_t)len, err);
        offset += len;
    }
    return rc;
}

static int zero_run(struct bm_flow_lane *lane, uint64_t offset, uint64_t end,
                    struct bm_error *err)
{
    int rc = breathe(lane, err);

    if (rc == 0 && end > offset) {
        rc = lane->flow->zeroes(lane->flow->opaque, lane->number, offset,
                                end - offset, err);
        atomic_fetch_add_explicit(lane->done, end - offset,
                                  memory_order_relaxed);
    }
    return rc;
}

/* Cuts an extent to whole blocks: a block is zero only if all of it is. *at is
 * where the work stands, which may be within the extent. */
static int add_extent(struct bm_flow_lane *lane, uint64_t *at,
                      const struct bm_extent *run, uint64_t end,
                      struct bm_error *err)
{
    uint64_t from = run->offset - run->offset % BLOCK;
    uint64_t to = run->offset + run->length;
    int rc = 0;

    if (run->zero)
        return 0;
    to += (BLOCK - to % BLOCK) % BLOCK;
    if (to > end)
        to = end;
    if (from < *at)
        from = *at;
    rc = zero_run(lane, *at, from, err);
    if (rc == 0)
        rc = read_run(lane, from, to, err);
    *at = to > *at ? to : *at;
    return rc;
}

static int by_extents(struct bm_flow_lane *lane, uint64_t offset, uint64_t end,
                      struct bm_error *err)
{
    struct bm_extent runs[RUNS];
    uint64_t at = offset;
    size_t n;
    int rc = 0;

    while (rc == 0 && offset < end) {
        rc = bm_device_extents(lane->flow->source, lane->number, BM_MAP_ZERO,
                               offset, end - offset, runs, RUNS, &n, err);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            rc = add_extent(lane, &at, &runs[i], end, err);
            offset = runs[i].offset + runs[i].length;
        }
    }
    return rc ? rc : zero_run(lane, at, end, err);
}

int bm_flow_lane_span(struct bm_flow_lane *lane, uint64_t offset, uint64_t end,
                      struct bm_error *err)
{
    const struct bm_bitmap *only = lane->flow->only;
    uint64_t length;
    int rc = 0;

    if (!only)
        rc = by_extents(lane, offset, end, err);
    while (rc == 0 && only &&
           bm_bitmap_next(only, false, offset, end, &offset, &length)) {
        rc = by_extents(lane, offset, offset + length, err);
        offset += length;
    }
    if (rc == 0)
        rc = drain(lane, err);
    if (rc != 0)
        settle(lane);
    return rc;
}
