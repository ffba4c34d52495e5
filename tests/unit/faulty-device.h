// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A block device in memory that fails where and as a test wants, and counts
 * what is done to it: no server can tell how often each sector was read.
 * Requests are done late and in any order, as those of NBD.
 */
#ifndef TESTS_UNIT_FAULTY_DEVICE_H
#define TESTS_UNIT_FAULTY_DEVICE_H

#include "nbd/device/device.h"
#include "nbd/base/units.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FAULTY_SECTOR 512u
#define FAULTY_QUEUE 64

struct faulty {
    struct bm_device dev;
    uint8_t *data;
    uint8_t *durable;  /* the data as of the last flush */
    uint8_t *failures; /* of each sector: so many reads of it fail; 255: all */
    unsigned *touched; /* so often was each sector asked for */
    unsigned *written; /* each sector */
    bool *hole;        /* each sector: an extent of zeroes */
    int error;         /* of reads that fail */
    unsigned reads;    /* requests so far */
    unsigned lose_at;  /* the connection is lost with this request, 0: never */
    int lost;          /* what with */
    unsigned fail_write_at; /* so do writes, and all after */
    unsigned writes;
    bool fail_flush, cut_off;
    unsigned slow_at;   /* this read takes over a second */
    uint64_t log[4096]; /* offsets of the reads, in order */
    struct bm_request *queue[FAULTY_QUEUE];
    unsigned queued;
};

static struct faulty *faulty_of(const struct bm_device *dev)
{
    return (struct faulty *)dev;
}

static inline uint64_t faulty_sectors(const struct faulty *f)
{
    return (f->dev.size + FAULTY_SECTOR - 1) / FAULTY_SECTOR;
}

static void faulty_read(struct faulty *f, struct bm_request *req)
{
    uint64_t first = req->offset / FAULTY_SECTOR;
    uint64_t last = (req->offset + req->len - 1) / FAULTY_SECTOR;

    if (f->reads <= sizeof f->log / sizeof *f->log)
        f->log[f->reads - 1] = req->offset;
    for (uint64_t s = first; s <= last; s++) {
        f->touched[s]++;
        if (f->failures[s] == 0)
            continue;
        if (f->failures[s] != 255)
            f->failures[s]--;
        req->error = f->error;
    }
    if (f->reads == f->slow_at)
        bm_sleep_ms(1200);
    /* Rubbish is what a read that failed leaves. */
    if (req->error)
        memset(req->buf, 0xaa, req->len);
    else
        memcpy(req->buf, f->data + req->offset, req->len);
}

static void faulty_write(struct faulty *f, struct bm_request *req)
{
    uint64_t last = (req->offset + req->len - 1) / FAULTY_SECTOR;

    f->writes++;
    if (f->fail_write_at && f->writes >= f->fail_write_at) {
        req->error = ENOSPC;
        return;
    }
    for (uint64_t s = req->offset / FAULTY_SECTOR; s <= last; s++)
        f->written[s]++;
    if (req->op == BM_WRITE)
        memcpy(f->data + req->offset, req->buf, req->len);
    else
        memset(f->data + req->offset, 0, req->len);
}

static int faulty_lose(struct faulty *f, struct bm_error *err)
{
    for (unsigned i = 0; i < f->queued; i++) {
        f->queue[i]->done = true;
        f->queue[i]->error = ENOTCONN;
    }
    f->queued = 0;
    return bm_fail_errno(err, f->lost, "%s is lost", f->dev.name);
}

static int faulty_submit(struct bm_device *dev, unsigned queue,
                         struct bm_request *req, struct bm_error *err)
{
    struct faulty *f = faulty_of(dev);

    cr_assert(queue == 0 && f->queued < FAULTY_QUEUE);
    if (req->op == BM_READ)
        f->reads++;
    f->queue[f->queued++] = req;
    if (f->lose_at && f->reads >= f->lose_at)
        return faulty_lose(f, err);
    if (req->op == BM_READ)
        faulty_read(f, req);
    return 0;
}

static int64_t faulty_poll(struct bm_device *dev, unsigned queue,
                           struct pollfd *pfd)
{
    return faulty_of(dev)->queued ? bm_now_ms() : INT64_MAX;
}

/* One of those in flight is done. */
static int faulty_notify(struct bm_device *dev, unsigned queue, short revents,
                         bool late, struct bm_error *err)
{
    struct faulty *f = faulty_of(dev);
    unsigned which = (unsigned)random() % f->queued;
    struct bm_request *req = f->queue[which];

    f->queue[which] = f->queue[--f->queued];
    if (req->op != BM_READ)
        faulty_write(f, req);
    req->done = true;
    return 0;
}

static int faulty_extents(struct bm_device *dev, unsigned queue,
                          enum bm_map map, uint64_t offset, uint64_t len,
                          struct bm_extent *runs, size_t max, size_t *n,
                          struct bm_error *err)
{
    struct faulty *f = faulty_of(dev);

    *n = 0;
    for (uint64_t at_ = offset; at_ < offset + len;) {
        uint64_t next = (at_ / FAULTY_SECTOR + 1) * FAULTY_SECTOR;
        bool zero = f->hole[at_ / FAULTY_SECTOR];

        next = next < offset + len ? next : offset + len;
        if (*n > 0 && runs[*n - 1].zero == zero)
            runs[*n - 1].length += next - at_;
        else if (*n == max)
            break;
        else
            runs[(*n)++] = (struct bm_extent){at_, next - at_, zero};
        at_ = next;
    }
    return 0;
}

static int faulty_flush(struct bm_device *dev, unsigned queue,
                        struct bm_error *err)
{
    struct faulty *f = faulty_of(dev);

    cr_assert_eq(f->queued, 0, "a flush with requests in flight");
    if (f->fail_flush)
        return bm_fail_errno(err, EIO, "cannot flush");
    memcpy(f->durable, f->data, f->dev.size);
    return 0;
}

static int faulty_intact(const struct bm_device *dev, struct bm_error *err)
{
    return faulty_of(dev)->cut_off ? bm_fail(err, EIO, "it was cut off") : 0;
}

static void faulty_close(struct bm_device *dev)
{
    struct faulty *f = faulty_of(dev);

    cr_assert_eq(f->queued, 0, "closed with requests in flight");
    free(f->data);
    free(f->durable);
    free(f->failures);
    free(f->touched);
    free(f->written);
    free(f->hole);
    free(f);
}

static const struct bm_device_ops faulty_ops = {
    .submit = faulty_submit,
    .poll = faulty_poll,
    .notify = faulty_notify,
    .extents = faulty_extents,
    .flush = faulty_flush,
    .intact = faulty_intact,
    .close = faulty_close,
};

/* One that is sound at first, filled with this byte. */
static inline struct faulty *faulty_new(uint64_t size, int fill)
{
    static char name[] = "faulty";
    struct faulty *f = calloc(1, sizeof *f);
    size_t sectors = (size_t)(size / FAULTY_SECTOR + 1);

    f->dev = (struct bm_device){.ops = &faulty_ops,
                                .name = name,
                                .size = size,
                                .queues = 1,
                                .chunk = 256 << 10,
                                .sector = 512,
                                .writable = true,
                                .can_zero = true,
                                .medium = "server"};
    f->data = malloc(size + 1);
    f->durable = malloc(size + 1);
    memset(f->data, fill, size);
    memset(f->durable, fill, size);
    f->failures = calloc(sectors, 1);
    f->touched = calloc(sectors, sizeof *f->touched);
    f->written = calloc(sectors, sizeof *f->written);
    f->hole = calloc(sectors, sizeof *f->hole);
    f->error = EIO;
    f->lost = ENOTCONN;
    return f;
}

#endif
