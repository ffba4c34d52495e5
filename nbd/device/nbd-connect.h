// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reaching an NBD server: from a URI or a connected socket to a libnbd handle
 * that is ready, by a deadline. For nbd-connection.c; devices use links.
 *
 * Threads: any.
 */
#ifndef BM_NBD_DEVICE_NBD_CONNECT_H
#define BM_NBD_DEVICE_NBD_CONNECT_H

#include "nbd/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct nbd_handle;
struct pollfd;

/* How an export is reached. The strings are borrowed by those who are given
 * one: it must outlive them. */
struct bm_nbd_target {
    const char *name;  /* for messages */
    const char *uri;   /* NULL: sockets are given */
    const char *dirty; /* the meta context behind BM_MAP_DIRTY, or NULL */
    unsigned depth;    /* not 0: dirty is what lies in 1 to depth */
    const char *tls_certificates, *tls_psk; /* as in struct bm_open */
    bool again; /* a lost connection may be made again: nothing was written */
    int connect_ms, progress_ms;
};

/* Ragged reads are widened to this where a server names no minimum. */
#define BM_SAFE_MINIMUM 512u

/* What the server said in the handshake. */
struct bm_nbd_facts {
    uint64_t size;
    uint32_t minimum;   /* of a request; 0: it did not say */
    uint32_t preferred; /* 0: it did not say */
    uint32_t maximum;   /* of a read or write, sane, a multiple of minimum */
    bool read_only, can_zero, can_flush, multi_conn;
    /* reads are to be answered whole: QEMU 7.2 hangs up where a read fails that
     * it may answer in fragments (QEMU's nbd/server.c,
     * nbd_co_send_sparse_read). Only of a server of ours: others may refuse a
     * large one (EOVERFLOW) */
    bool whole_reads;
    bool has_zero, has_dirty; /* the maps of extents */
};

#define BM_CONTEXT_ZERO "base:allocation"

/* Connects to how->uri, name lookup and TLS included, and shakes hands by
 * deadline (bm_now_ms), else -ETIMEDOUT. */
int bm_nbd_connect(const struct bm_nbd_target *how, int64_t deadline,
                   struct nbd_handle **out, struct bm_nbd_facts *facts,
                   struct bm_error *err);

/* Takes over a connected socket, also when it fails, and sends nothing yet. */
int bm_nbd_connect_socket(const struct bm_nbd_target *how, int sock,
                          struct nbd_handle **out, struct bm_error *err);

/* Shakes hands by deadline. The handle stays the caller's. */
int bm_nbd_connect_finish(const struct bm_nbd_target *how,
                          struct nbd_handle *nbd, int64_t deadline,
                          struct bm_nbd_facts *facts, struct bm_error *err);

/* Waits for replies to what is in flight, takes leave, and frees the handle.
 * A server that is not told goodbye may complain, nbdkit even aborts. */
void bm_nbd_connect_hang_up(struct nbd_handle *nbd);

/* What a connection waits for, and libnbd's turn after the poll. A negative
 * errno from notify: the connection is lost. */
struct pollfd bm_nbd_connect_pollfd(struct nbd_handle *nbd);
int bm_nbd_connect_notify(const struct bm_nbd_target *how,
                          struct nbd_handle *nbd, short revents,
                          struct bm_error *err);

/* poll(2) of one until deadline: 0, -ETIMEDOUT, or another negative errno. */
int bm_nbd_connect_poll(struct pollfd *pfd, int64_t deadline);

/* Fails with libnbd's own words; call at once after the call that failed. */
int bm_nbd_connect_trouble(struct bm_error *err, const char *what,
                           const char *name);

#endif
