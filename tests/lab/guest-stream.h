// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A stream of the guest: one thread that writes and reads back its part of
 * one disk, and knows for each slot what must be there. Part of guest.c.
 *
 * Threads: a stream's worker owns it. When the workers are parked
 * (guest_park), the caller may touch all streams. `stats` is shared, by lock.
 */
#ifndef LAB_GUEST_STREAM_H
#define LAB_GUEST_STREAM_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "hist.h"
#include "record.h"

#define SCAN_CHUNK (1 << 20)
#define SHOUT_MAX 20 /* lines of one kind from one scan */
#define RETRY_NS 100000000L

enum guest_op { OP_READ, OP_WRITE, OP_FLUSH, OPS };

struct stats {
    pthread_mutex_t lock;
    struct hist hist[OPS];
    uint64_t max_us;
    uint64_t bytes;
    uint64_t verified;
    uint64_t wrong;
};

struct stream {
    const char *disk;
    int fd;
    struct layout layout;
    uint64_t *want; /* seq by slot, 0: never written */
    uint64_t seq;   /* the last one issued */
    uint64_t flushed;
    uint64_t dice;
    uint64_t next_ns; /* when the next operation is due */
    void *buf;        /* SCAN_CHUNK bytes */
    struct stats stats;
};

struct scan_result {
    uint64_t records; /* that are not blank */
    uint64_t torn;
    uint64_t lost;
    uint64_t wrong;
    uint64_t healed;
};

/* One line to the console, whole, whoever else prints. In guest.c. */
static void out(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void sleep_ns(long ns)
{
    struct timespec t = {ns / 1000000000L, ns % 1000000000L};

    nanosleep(&t, NULL);
}

static uint64_t roll(struct stream *s)
{
    return mix64(s->dice++);
}

static void stats_add(struct stream *s, enum guest_op op, uint64_t start,
                      size_t size)
{
    uint64_t us = (now_ns() - start) / 1000;

    pthread_mutex_lock(&s->stats.lock);
    hist_add(&s->stats.hist[op], us);
    if (us > s->stats.max_us)
        s->stats.max_us = us;
    if (op == OP_WRITE)
        s->stats.bytes += size;
    pthread_mutex_unlock(&s->stats.lock);
}

static int io_once(struct stream *s, enum guest_op op, size_t size,
                   uint64_t off)
{
    ssize_t n = 0;

    errno = 0;
    if (op == OP_FLUSH)
        return fdatasync(s->fd);
    if (op == OP_READ)
        n = pread(s->fd, s->buf, size, (off_t)off);
    else
        n = pwrite(s->fd, s->buf, size, (off_t)off);
    return n == (ssize_t)size ? 0 : -1;
}

/* Until it succeeds: its latency is that from the first try. */
static void io(struct stream *s, enum guest_op op, size_t size, uint64_t off)
{
    static const char *const name[OPS] = {"read", "write", "flush"};

    while (io_once(s, op, size, off) < 0) {
        out("IOERR disk=%s op=%s off=%" PRIu64 " size=%zu errno=%d", s->disk,
            name[op], off, size, errno);
        sleep_ns(RETRY_NS);
    }
}

static void timed_io(struct stream *s, enum guest_op op, size_t size,
                     uint64_t off)
{
    uint64_t start = now_ns();

    io(s, op, size, off);
    stats_add(s, op, start, size);
}

/*
 * Reads all slots in big pieces and calls see() with each slot's record.
 * See() must not touch s->buf.
 */
static void scan(struct stream *s,
                 void (*see)(struct stream *, uint64_t slot,
                             const struct record_view *, void *),
                 void *arg)
{
    unsigned i;

    for (i = 0; i < REGIONS; i++) {
        const struct region *r = &s->layout.region[i];
        uint64_t batch = SCAN_CHUNK / r->size, at, k;

        for (at = 0; at < r->slots; at += batch) {
            uint64_t n = r->slots - at < batch ? r->slots - at : batch;

            io(s, OP_READ, n * r->size, r->start + at * r->size);
            for (k = 0; k < n; k++) {
                uint64_t slot = r->first + at + k;
                struct record_view v =
                    record_check((char *)s->buf + k * r->size, r->size,
                                 s->layout.seed, slot);
                see(s, slot, &v, arg);
            }
        }
    }
}

static void shout(const struct stream *s, const char *word, uint64_t slot,
                  uint64_t want, const struct record_view *v)
{
    const struct region *r = slot_region(&s->layout, slot);
    static const char *const state[] = {"good", "blank", "broken"};

    out("%s disk=%s slot=%" PRIu64 " off=%" PRIu64 " size=%u want=%" PRIu64
        " got=%" PRIu64 "..%" PRIu64 " state=%s",
        word, s->disk, slot, slot_offset(&s->layout, slot), r->size, want,
        v->low == UINT64_MAX ? 0 : v->low, v->high, state[v->worst]);
}

static int record_is(const struct record_view *v, uint64_t seq)
{
    return v->worst == SECTOR_GOOD && v->low == seq && v->high == seq;
}

static void see_verify(struct stream *s, uint64_t slot,
                       const struct record_view *v, void *arg)
{
    struct scan_result *result = arg;

    if (s->want[slot] == 0)
        return;
    result->records++;
    if (record_is(v, s->want[slot]))
        return;
    if (result->wrong++ < SHOUT_MAX)
        shout(s, "WRONG", slot, s->want[slot], v);
}

/* Reads back every slot. The workers are parked. */
static void stream_verify(struct stream *s, struct scan_result *result)
{
    io(s, OP_FLUSH, 0, 0);
    s->flushed = s->seq;
    scan(s, see_verify, result);
}

struct boot_scan {
    struct record_view *view; /* by slot */
    uint64_t flushed;
    uint64_t high;
};

static void see_boot(struct stream *s, uint64_t slot,
                     const struct record_view *v, void *arg)
{
    struct boot_scan *b = arg;

    (void)s;
    b->view[slot] = *v;
    if (v->flushed > b->flushed)
        b->flushed = v->flushed;
    if (v->high > b->high)
        b->high = v->high;
}

/* Judges the slots against what a flush had promised: want[], up to F. */
static void boot_judge(struct stream *s, const struct boot_scan *b,
                       struct scan_result *result)
{
    uint64_t slot;

    for (slot = 0; slot < s->layout.slots; slot++) {
        const struct record_view *v = &b->view[slot];
        uint64_t want = s->want[slot];

        result->records += v->high > 0;
        if (v->worst == SECTOR_BROKEN) {
            if (result->wrong++ < SHOUT_MAX)
                shout(s, "WRONG", slot, want, v);
        } else if (v->low < want) {
            if (result->lost++ < SHOUT_MAX)
                shout(s, "LOST", slot, want, v);
        } else if (v->low != v->high) {
            result->torn++;
        }
    }
}

static void fill_record(struct stream *s, uint64_t slot, uint64_t seq)
{
    const struct region *r = slot_region(&s->layout, slot);

    record_fill(s->buf, r->size, s->layout.seed, seq, slot, s->flushed);
}

/*
 * What was issued but not flushed before the power went may be there or not.
 * From now on it is: later replays count on every number up to ours.
 */
static void boot_heal(struct stream *s, const struct boot_scan *b,
                      struct scan_result *result)
{
    uint64_t slot;

    for (slot = 0; slot < s->layout.slots; slot++) {
        if (s->want[slot] == 0 || record_is(&b->view[slot], s->want[slot]))
            continue;
        fill_record(s, slot, s->want[slot]);
        io(s, OP_WRITE, slot_region(&s->layout, slot)->size,
           slot_offset(&s->layout, slot));
        result->healed++;
    }
    io(s, OP_FLUSH, 0, 0);
}

static void replay(struct stream *s, uint64_t from, uint64_t to)
{
    uint64_t seq;

    for (seq = from; seq <= to; seq++)
        s->want[seq_slot(&s->layout, seq)] = seq;
}

/* Finds out at boot what the disk has, and judges it. */
static void stream_boot(struct stream *s)
{
    struct boot_scan b = {0};
    struct scan_result result = {0};

    b.view = calloc(s->layout.slots, sizeof *b.view);
    scan(s, see_boot, &b);
    replay(s, 1, b.flushed);
    boot_judge(s, &b, &result);
    replay(s, b.flushed + 1, b.high);
    s->flushed = b.flushed;
    boot_heal(s, &b, &result);
    out("B disk=%s scanned=%" PRIu64 " torn=%" PRIu64 " lost=%" PRIu64
        " wrong=%" PRIu64 " healed=%" PRIu64 " maxseq=%" PRIu64
        " flushed=%" PRIu64,
        s->disk, result.records, result.torn, result.lost, result.wrong,
        result.healed, b.high, b.flushed);
    s->seq = s->flushed = b.high > b.flushed ? b.high : b.flushed;
    free(b.view);
}

static void op_write(struct stream *s)
{
    uint64_t slot = seq_slot(&s->layout, ++s->seq);

    fill_record(s, slot, s->seq);
    timed_io(s, OP_WRITE, slot_region(&s->layout, slot)->size,
             slot_offset(&s->layout, slot));
    s->want[slot] = s->seq;
}

static void op_flush(struct stream *s)
{
    timed_io(s, OP_FLUSH, 0, 0);
    s->flushed = s->seq;
}

/* Reads a record back; -1 when it found none that was ever written. */
static int op_read(struct stream *s)
{
    const struct region *r;
    struct record_view v;
    uint64_t slot = 0;
    unsigned tries;

    for (tries = 0; tries < 16; tries++) {
        slot = seq_slot(&s->layout, 1 + roll(s) % (s->seq + 1));
        if (s->want[slot] != 0)
            break;
    }
    if (s->want[slot] == 0)
        return -1;
    r = slot_region(&s->layout, slot);
    timed_io(s, OP_READ, r->size, slot_offset(&s->layout, slot));
    v = record_check(s->buf, r->size, s->layout.seed, slot);
    pthread_mutex_lock(&s->stats.lock);
    s->stats.verified++;
    s->stats.wrong += !record_is(&v, s->want[slot]);
    pthread_mutex_unlock(&s->stats.lock);
    if (!record_is(&v, s->want[slot]))
        shout(s, "WRONG", slot, s->want[slot], &v);
    return 0;
}

#endif
