// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/libvirt/event-log.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define RING 1024

/* Lives as long as anyone may still call back: libvirt holds references. */
struct bm_event_log {
    atomic_int refs;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t added;
    uint64_t seq; /* of the newest */
    struct bm_event ring[RING];
    unsigned generation; /* of the connection that counts */
    bool lost;
};

struct bm_event_log *bm_event_log_new(void)
{
    struct bm_event_log *log = calloc(1, sizeof *log);

    if (!log)
        return NULL;
    atomic_init(&log->refs, 1);
    pthread_mutex_init(&log->lock, NULL);
    bm_cond_init(&log->added);
    return log;
}

void bm_event_log_unref(struct bm_event_log *log)
{
    if (atomic_fetch_sub(&log->refs, 1) > 1)
        return;
    pthread_cond_destroy(&log->added);
    pthread_mutex_destroy(&log->lock);
    free(log);
}

void bm_event_log_add(struct bm_event_log *log, struct bm_event *event)
{
    BM_LOCK(&log->lock);
    event->seq = ++log->seq;
    event->time_ms = bm_now_ms();
    log->ring[event->seq % RING] = *event;
    pthread_cond_broadcast(&log->added);
}

/* With the lock held: the next event that concerns uuid. */
static bool find_event(struct bm_event_log *log, const char *uuid,
                       uint64_t *seq, struct bm_event *event)
{
    if (log->seq >= RING && *seq < log->seq - RING + 1)
        *seq = log->seq - RING + 1;
    while (*seq < log->seq) {
        const struct bm_event *e = &log->ring[++*seq % RING];

        if (uuid && e->kind != BM_EVENT_GONE && strcmp(e->uuid, uuid) != 0)
            continue;
        *event = *e;
        return true;
    }
    return false;
}

void bm_event_log_ref(struct bm_event_log *log)
{
    atomic_fetch_add(&log->refs, 1);
}

bool bm_event_log_lost(struct bm_event_log *log)
{
    BM_LOCK(&log->lock);
    return log->lost;
}

unsigned bm_event_log_renew(struct bm_event_log *log)
{
    BM_LOCK(&log->lock);
    log->lost = false;
    return ++log->generation;
}

/* With the lock held. */
static bool mark_lost(struct bm_event_log *log, unsigned generation)
{
    if (generation != log->generation)
        return false;
    log->lost = true;
    return true;
}

void bm_event_log_lose(struct bm_event_log *log, unsigned generation,
                       struct bm_event *event)
{
    bool current;

    pthread_mutex_lock(&log->lock);
    current = mark_lost(log, generation);
    pthread_mutex_unlock(&log->lock);
    if (current)
        bm_event_log_add(log, event);
}

uint64_t bm_event_log_mark(struct bm_event_log *log)
{
    BM_LOCK(&log->lock);
    return log->seq;
}

int bm_event_log_next(struct bm_event_log *log, const char *uuid, uint64_t *seq,
                      int timeout_ms, struct bm_event *event)
{
    struct timespec until = bm_deadline(timeout_ms);

    BM_LOCK(&log->lock);
    for (;;) {
        if (find_event(log, uuid, seq, event))
            return 1;
        if (pthread_cond_timedwait(&log->added, &log->lock, &until) ==
            ETIMEDOUT)
            return find_event(log, uuid, seq, event);
    }
}
