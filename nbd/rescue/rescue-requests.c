// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/rescue/rescue-private.h"

#include "nbd/digest/digest.h"
#include "nbd/base/units.h"

#include <errno.h>

#define SECOND UINT64_C(1000000000)

static struct bm_rescue_slot *slot_at(struct bm_rescue_state *run, size_t i)
{
    return &run->slots[i % BM_RESCUE_SLOTS];
}

size_t bm_pipe_reading(const struct bm_rescue_state *run)
{
    return run->next - run->reading;
}

bool bm_pipe_has_space(const struct bm_rescue_state *run, size_t depth)
{
    return bm_pipe_reading(run) < depth &&
           run->next - run->writing < BM_RESCUE_SLOTS;
}

bool bm_pipe_is_idle(const struct bm_rescue_state *run)
{
    return run->writing == run->next;
}

/* --- reading --- */

int bm_pipe_read(struct bm_rescue_state *run, uint64_t offset, uint64_t length,
                 struct bm_error *err)
{
    size_t number = run->next++ % BM_RESCUE_SLOTS;
    struct bm_rescue_slot *slot = &run->slots[number];
    int64_t start = bm_now_ns();
    int rc;

    *slot = (struct bm_rescue_slot){
        .req = {.op = BM_READ,
                .buf = run->buffers + number * run->chunk,
                .len = length,
                .offset = offset}};
    run->result->reads++;
    rc = bm_device_submit(run->how->source, 0, &slot->req, err);
    run->rate.ns +=
        (uint64_t)(bm_now_ns() - start); /* a file's is done by now */
    return rc;
}

/* Sends what was read on. A target that reads as zeroes needs none. */
static int write_on(struct bm_rescue_state *run, struct bm_rescue_slot *slot,
                    struct bm_error *err)
{
    struct bm_request *req = &slot->req;
    int rc = run->how->took ? run->how->took(run->how->opaque, req->offset,
                                             req->len, req->buf, err)
                            : 0;

    if (rc != 0)
        return rc;
    req->op = BM_WRITE;
    if (run->how->target->zeroed && bm_is_zero(req->buf, req->len))
        return 0;
    return bm_device_submit(run->how->target, 0, req, err);
}

int bm_pipe_take(struct bm_rescue_state *run, struct bm_rescue_outcome *outcome,
                 struct bm_error *err)
{
    struct bm_rescue_slot *slot = slot_at(run, run->reading);
    struct bm_request *req = &slot->req;
    int64_t start = bm_now_ns();
    int rc = bm_device_wait(run->queues, req, err);

    run->rate.ns += (uint64_t)(bm_now_ns() - start);
    if (rc != 0)
        return rc;
    if (req->error != 0 && !bm_is_bad_sector(req->error))
        return bm_request_failed(run->how->source, req, err);
    *outcome = (struct bm_rescue_outcome){req->offset, req->len, req->error};
    slot->bad = outcome->bad;
    run->reading++;
    run->result->errors += outcome->bad;
    if (outcome->bad)
        return 0;
    run->rate.bytes += req->len;
    return write_on(run, slot, err);
}

bool bm_pipe_is_slow(struct bm_rescue_state *run)
{
    struct bm_rescue_rate *r = &run->rate;
    double rate, least = (double)run->how->min_rate;

    if (r->ns < SECOND)
        return false;
    rate = (double)r->bytes * SECOND / (double)r->ns;
    if (least <= 0 && r->all_ns > 0)
        least = (double)r->all_bytes * SECOND / (double)r->all_ns / 10;
    r->all_bytes += r->bytes;
    r->all_ns += r->ns;
    r->bytes = r->ns = 0;
    return rate < least;
}

/* --- writing --- */

static int finish(struct bm_rescue_state *run,
                  const struct bm_rescue_slot *slot, struct bm_error *err)
{
    if (slot->bad)
        return 0;
    if (slot->req.error != 0)
        return bm_request_failed(run->how->target, &slot->req, err);
    return bm_rescue_mark(run, slot->req.offset, slot->req.len,
                          BM_AREA_FINISHED, err);
}

int bm_pipe_retire(struct bm_rescue_state *run, struct bm_error *err)
{
    struct bm_rescue_slot *slot = slot_at(run, run->writing);
    int rc = bm_device_wait(run->queues, &slot->req, err);

    if (rc == 0)
        rc = finish(run, slot, err);
    if (rc == 0)
        run->writing++;
    return rc;
}

/* One queue may be lost, the other one still has what is in flight. */
static void wait_alone(struct bm_rescue_state *run, struct bm_request *req)
{
    const struct bm_queue *queue = &run->queues[req->op != BM_READ];
    const struct bm_queue alone[2] = {*queue, {NULL, 0}};

    (void)bm_device_wait(alone, req, NULL);
}

void bm_pipe_settle(struct bm_rescue_state *run)
{
    for (size_t i = run->writing; i < run->next; i++)
        wait_alone(run, &slot_at(run, i)->req);
    for (; run->writing < run->reading; run->writing++)
        (void)finish(run, slot_at(run, run->writing), NULL);
    run->writing = run->reading = run->next;
}
