// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/device.h"

#include "nbd/base/units.h"

#include <errno.h>
#include <limits.h>

/* What one bm_device_pread keeps in flight: QEMU serves 16 requests of a
 * connection at once, and past 8 of them nothing gets faster. */
#define DEPTH 8u

void bm_device_close(struct bm_device *dev)
{
    if (dev)
        dev->ops->close(dev);
}

static bool in_range(const struct bm_device *dev, unsigned queue, uint64_t len,
                     uint64_t offset)
{
    return queue < dev->queues && len <= dev->size && offset <= dev->size - len;
}

static const char *verb(enum bm_op op)
{
    return op == BM_READ ? "read" : op == BM_WRITE ? "write" : "zero";
}

static int check_request(const struct bm_device *dev, unsigned queue,
                         const struct bm_request *req)
{
    if (!in_range(dev, queue, req->len, req->offset) ||
        (req->op != BM_ZERO && req->len > BM_REQUEST_MAX))
        return EINVAL;
    return req->op == BM_READ || dev->writable ? 0 : EROFS;
}

static int fail_request(const struct bm_device *dev, struct bm_request *req,
                        int error, struct bm_error *err)
{
    req->done = true;
    req->error = error;
    return bm_request_failed(dev, req, err);
}

int bm_device_submit(struct bm_device *dev, unsigned queue,
                     struct bm_request *req, struct bm_error *err)
{
    int rc = check_request(dev, queue, req);

    req->done = false;
    req->error = 0;
    if (rc != 0)
        return fail_request(dev, req, rc, err);
    if (req->len == 0) {
        req->done = true;
        return 0;
    }
    rc = dev->ops->submit(dev, queue, req, err);
    if (rc != 0 && !req->done) {
        req->done = true;
        req->error = -rc;
    }
    return rc;
}

/* A medium error, and one of the checksum, have other names in the kernel
 * too. */
bool bm_is_bad_sector(int error)
{
    return error == EIO || error == EREMOTEIO || error == ENODATA ||
           error == EILSEQ || error == EBADMSG;
}

int bm_request_failed(const struct bm_device *dev, const struct bm_request *req,
                      struct bm_error *err)
{
    struct bm_error why = BM_ERROR_INIT;
    int code = req->error ? req->error : EIO;

    bm_fail_errno(err, code, "cannot %s %llu bytes at %llu of %s",
                  verb(req->op), (unsigned long long)req->len,
                  (unsigned long long)req->offset, dev->name);
    /* More than "Input/output error" where it was cut off meanwhile. */
    if (code == EIO && bm_device_intact(dev, &why) != 0)
        bm_cause(err, "%s", why.cause);
    return -code;
}

/* What poll(2) waits for on behalf of both queues. */
struct waiting {
    struct pollfd fds[2];
    int64_t deadlines[2];
};

static bool is_polled(const struct bm_queue *queue)
{
    return queue->dev && queue->dev->ops->poll;
}

/* Milliseconds until the first deadline, -1: none; INT_MIN: there is nothing
 * to wait for at all. */
static int prepare(const struct bm_queue queues[2], struct waiting *w)
{
    int64_t first = INT64_MAX, left;
    bool any = false;

    for (int i = 0; i < 2; i++) {
        const struct bm_queue *queue = &queues[i];

        w->fds[i] = (struct pollfd){.fd = -1};
        w->deadlines[i] = INT64_MAX;
        if (!is_polled(queue))
            continue;
        w->deadlines[i] =
            queue->dev->ops->poll(queue->dev, queue->number, &w->fds[i]);
        if (w->deadlines[i] < first)
            first = w->deadlines[i];
        any = any || w->fds[i].fd >= 0;
    }
    if (first == INT64_MAX)
        return any ? -1 : INT_MIN;
    left = first - bm_now_ms();
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* Both queues are driven even when the first one is lost. */
static int notify(const struct bm_queue queues[2], const struct waiting *w,
                  struct bm_error *err)
{
    int64_t now = bm_now_ms();
    int rc = 0;

    for (int i = 0; i < 2; i++) {
        const struct bm_queue *queue = &queues[i];
        short revents = w->fds[i].revents;
        bool late = revents == 0 && now >= w->deadlines[i];
        int one = 0;

        if (is_polled(queue) && (revents != 0 || late))
            one = queue->dev->ops->notify(queue->dev, queue->number, revents,
                                          late, rc == 0 ? err : NULL);
        if (rc == 0)
            rc = one;
    }
    return rc;
}

int bm_device_wait(const struct bm_queue queues[2],
                   const struct bm_request *req, struct bm_error *err)
{
    struct waiting w;
    int rc = 0;

    while (rc == 0 && !req->done) {
        int timeout = prepare(queues, &w);

        if (timeout == INT_MIN)
            return bm_fail(err, EINVAL, "a request that no lane has in flight");
        if (poll(w.fds, 2, timeout) >= 0)
            rc = notify(queues, &w, err);
        else if (errno != EINTR)
            rc = bm_fail_errno(err, errno, "cannot poll");
    }
    return rc;
}

/* The next piece of a long transfer: pieces end where chunks do, so that all
 * but the first and the last are aligned. */
static uint32_t piece(const struct bm_device *dev, size_t len, uint64_t offset)
{
    uint32_t room = dev->chunk - (uint32_t)(offset & (dev->chunk - 1));

    return len < room ? (uint32_t)len : room;
}

/* One long read or write in pieces, at most DEPTH at a time. */
struct transfer_context {
    struct bm_queue queues[2];
    struct bm_request reqs[DEPTH]; /* those of [first, next) are under way */
    size_t first, next;
};

static int take_first(struct transfer_context *t, struct bm_error *err)
{
    struct bm_request *req = &t->reqs[t->first++ % DEPTH];
    int rc = bm_device_wait(t->queues, req, err);

    if (rc == 0 && req->error != 0)
        rc = bm_request_failed(t->queues[0].dev, req, err);
    return rc;
}

static int put_next(struct transfer_context *t, struct bm_request req,
                    struct bm_error *err)
{
    struct bm_request *slot = &t->reqs[t->next++ % DEPTH];

    *slot = req;
    return bm_device_submit(t->queues[0].dev, t->queues[0].number, slot, err);
}

static int transfer(struct bm_device *dev, unsigned queue,
                    struct bm_request all, struct bm_error *err)
{
    struct transfer_context t = {.queues = {{dev, queue}}};
    struct bm_request next = all;
    uint64_t left = all.len;
    int rc = 0;

    while (rc == 0 && (left > 0 || t.first < t.next)) {
        if (left > 0 && t.next - t.first < DEPTH) {
            next.len = piece(dev, left, next.offset);
            rc = put_next(&t, next, err);
            next.buf = (char *)next.buf + next.len;
            next.offset += next.len;
            left -= next.len;
        } else {
            rc = take_first(&t, err);
        }
    }
    while (t.first < t.next) /* the buffer must be the caller's again */
        (void)take_first(&t, NULL);
    return rc;
}

int bm_device_pread(struct bm_device *dev, unsigned queue, void *buf,
                    size_t len, uint64_t offset, struct bm_error *err)
{
    struct bm_request all = {
        .op = BM_READ, .buf = buf, .len = len, .offset = offset};
    int rc;

    if (!in_range(dev, queue, len, offset))
        return fail_request(dev, &all, EINVAL, err);
    rc = transfer(dev, queue, all, err);
    return rc == 0 ? bm_device_intact(dev, err) : rc;
}

int bm_device_pwrite(struct bm_device *dev, unsigned queue, const void *buf,
                     size_t len, uint64_t offset, struct bm_error *err)
{
    struct bm_request all = {
        .op = BM_WRITE, .buf = (void *)buf, .len = len, .offset = offset};

    if (!in_range(dev, queue, len, offset))
        return fail_request(dev, &all, EINVAL, err);
    return transfer(dev, queue, all, err);
}

int bm_device_zero(struct bm_device *dev, unsigned queue, uint64_t len,
                   uint64_t offset, struct bm_error *err)
{
    struct bm_request req = {.op = BM_ZERO, .len = len, .offset = offset};
    const struct bm_queue queues[2] = {{dev, queue}, {NULL, 0}};
    int rc = bm_device_submit(dev, queue, &req, err);

    if (rc == 0)
        rc = bm_device_wait(queues, &req, err);
    return rc == 0 && req.error ? bm_request_failed(dev, &req, err) : rc;
}

int bm_device_extents(struct bm_device *dev, unsigned queue, enum bm_map map,
                      uint64_t offset, uint64_t len, struct bm_extent *runs,
                      size_t max, size_t *n, struct bm_error *err)
{
    int rc;

    *n = 0;
    if (!in_range(dev, queue, len, offset) || max == 0)
        return bm_fail_errno(err, EINVAL, "cannot read the extents of %s",
                             dev->name);
    if (len == 0)
        return 0;
    rc = dev->ops->extents(dev, queue, map, offset, len, runs, max, n, err);
    if (rc == 0 && (*n == 0 || runs[0].offset != offset || !runs[0].length))
        return bm_fail_errno(err, EPROTO, "cannot read the extents of %s",
                             dev->name);
    return rc;
}

int bm_device_flush(struct bm_device *dev, struct bm_error *err)
{
    int rc = 0;

    for (unsigned i = 0; dev->writable && rc == 0 && i < dev->queues; i++)
        rc = dev->ops->flush(dev, i, err);
    return rc;
}

int bm_device_intact(const struct bm_device *dev, struct bm_error *err)
{
    return dev->ops->intact ? dev->ops->intact(dev, err) : 0;
}

int bm_device_drop_cache(struct bm_device *dev, struct bm_error *err)
{
    if (dev->ops->drop_cache)
        return dev->ops->drop_cache(dev, err);
    bm_fail(err, ENOTSUP, "cannot drop %s from the page cache", dev->name);
    return bm_cause(err, "it is not a local file"), -ENOTSUP;
}
