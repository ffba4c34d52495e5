// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The newest events of one connection, over its reconnects. It lives as long
 * as anyone may still call back, since libvirt holds references: counted.
 *
 * Threads: any.
 */
#ifndef BM_SNAPSHOT_LIBVIRT_EVENT_LOG_H
#define BM_SNAPSHOT_LIBVIRT_EVENT_LOG_H

#include "snapshot/libvirt/connection.h"

struct bm_event_log;

struct bm_event_log *bm_event_log_new(void); /* NULL: out of memory */
void bm_event_log_ref(struct bm_event_log *log);
void bm_event_log_unref(struct bm_event_log *log);

/* Fills seq and time_ms. */
void bm_event_log_add(struct bm_event_log *log, struct bm_event *event);
/* The number of the newest event. */
uint64_t bm_event_log_mark(struct bm_event_log *log);
/* As bm_connection_next. */
int bm_event_log_next(struct bm_event_log *log, const char *uuid, uint64_t *seq,
                      int timeout_ms, struct bm_event *event);

/* The connection of that generation is lost: once it is not the current one
 * any more this says nothing. Adds the event. */
void bm_event_log_lose(struct bm_event_log *log, unsigned generation,
                       struct bm_event *event);
bool bm_event_log_lost(struct bm_event_log *log);
/* A new connection begins; returns its generation. */
unsigned bm_event_log_renew(struct bm_event_log *log);

#endif
