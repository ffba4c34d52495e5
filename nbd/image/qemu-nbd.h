// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A qemu-nbd of our own, reached by nobody else: its socket lives in a private
 * folder that is gone before the server runs.
 */
#ifndef BM_NBD_IMAGE_QEMU_NBD_H
#define BM_NBD_IMAGE_QEMU_NBD_H

#include "nbd/base/error.h"
#include "nbd/exec/spawn.h"

struct bm_server {
    struct bm_process process;
    int errs;     /* what it writes to standard error, a memfd */
    int grace_ms; /* for its end */
};
#define BM_SERVER_INIT                                                         \
    {                                                                          \
        BM_PROCESS_INIT, -1, 0                                                 \
    }

/* What it serves. */
struct bm_serve {
    const char *spec;   /* a json: file name (bm_image_spec), which says
                         * whether to use the page cache */
    const char *bitmap; /* a persistent bitmap to show as well, or NULL */
    bool depth;         /* show in which layer things are */
    bool write;         /* zeroes and discards make holes */
};

/*
 * Serves it. socks gets n connected sockets, the caller's to close; they
 * answer once the server is up.
 */
int bm_server_start(const struct bm_serve *what, int socks[], unsigned n,
                    struct bm_server *out, struct bm_error *err);

/* Replaces err by what the server said when it ended by itself, with the
 * errno that this means; without such words err stays. Returns -err->code. */
int bm_server_explain(const struct bm_server *server, const char *name,
                      struct bm_error *err);

/* Ends and reaps it. Nothing is done for BM_SERVER_INIT. */
void bm_server_stop(struct bm_server *server);

#endif
