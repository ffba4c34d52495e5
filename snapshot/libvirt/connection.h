// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One libvirt connection: its event thread (one a process), keep-alive, a
 * log of the events that concern us, and reconnecting. Events are lost while
 * a connection is down (docs/pitfalls.md P52): whoever waits for one asks
 * libvirt again after bm_connection_lost said so.
 *
 * Threads: all functions may be called from any thread.
 */
#ifndef BM_SNAPSHOT_LIBVIRT_CONNECTION_H
#define BM_SNAPSHOT_LIBVIRT_CONNECTION_H

#include "nbd/base/error.h"

#include <libvirt/libvirt.h>
#include <stdbool.h>
#include <stdint.h>

struct bm_connection;

enum bm_event_kind {
    BM_EVENT_JOB,       /* a block job changed: disk, code = status */
    BM_EVENT_LIFECYCLE, /* code = virDomainEventType, detail */
    BM_EVENT_REBOOT,    /* the guest was reset */
    BM_EVENT_IO_ERROR,
    BM_EVENT_GONE, /* the connection was lost */
};

struct bm_event {
    uint64_t seq;    /* ascending from 1 */
    int64_t time_ms; /* bm_now_ms when it arrived */
    enum bm_event_kind kind;
    char uuid[VIR_UUID_STRING_BUFLEN];
    char disk[32]; /* target name, e.g. vda */
    int type;      /* virDomainBlockJobType */
    int code, detail;
};

/* uri NULL: libvirt's default. 15 s deadline. */
int bm_connection_open(const char *uri, struct bm_connection **out,
                       struct bm_error *err);
void bm_connection_close(struct bm_connection *conn); /* accepts NULL */

/* A borrowed handle; it stays valid until the next reopen or close. */
virConnectPtr bm_connection_handle(struct bm_connection *conn);
/* What libvirt calls it, e.g. qemu:///session. Borrowed. */
const char *bm_connection_uri(struct bm_connection *conn);

bool bm_connection_lost(struct bm_connection *conn);
/* Opens anew after a loss, at most timeout_ms, trying once a second at
 * first at once. Callers then look up their domains again. */
int bm_connection_reopen(struct bm_connection *conn, int timeout_ms,
                         struct bm_error *err);

/* The number of the newest event; waiting starts after it. */
uint64_t bm_connection_mark(struct bm_connection *conn);
/*
 * The next event of that domain (any, if uuid is NULL) after *seq; *seq moves
 * on. 1: an event; 0: none within timeout_ms. BM_EVENT_GONE concerns all.
 */
int bm_connection_next(struct bm_connection *conn, const char *uuid,
                       uint64_t *seq, int timeout_ms, struct bm_event *event);

#endif
