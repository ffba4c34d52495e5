// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What nbd-connection.c (the connection) and nbd-requests.c (what is on its
 * wire) share.
 */
#ifndef BM_NBD_DEVICE_NBD_PRIVATE_H
#define BM_NBD_DEVICE_NBD_PRIVATE_H

#include "nbd/device/nbd-connection.h"

/* QEMU serves so many requests of a connection at once. */
#define BM_PIECES 16u
#define BM_PIECE_SYNC BM_PIECES /* the piece of flush and status */

enum bm_command {
    BM_COMMAND_READ,
    BM_COMMAND_WRITE,
    BM_COMMAND_ZERO,
    BM_COMMAND_FLUSH,
    BM_COMMAND_STATUS,
};

/* A command on the wire: a piece of a request. It keeps all that is needed
 * to send it again. */
struct bm_piece {
    struct bm_request *req; /* NULL: free */
    enum bm_command command;
    char *buf; /* of the data on the wire */
    uint64_t offset, len;
    char *bounce;   /* owned: a widened read, of which ... */
    char *into;     /* ... this gets what was wanted: ... */
    size_t skip, n; /* ... n bytes after skip */
    bm_nbd_on_status status;
    void *opaque;
    bool back; /* the reply is here, or it could not be sent */
    int error;
};

struct bm_nbd {
    const struct bm_nbd_target *how;
    struct nbd_handle *nbd; /* NULL once it has failed */
    struct bm_nbd_facts facts;
    struct bm_piece pieces[BM_PIECES + 1];
    /* Requests not wholly on the wire yet, linked by their `private`; of the
     * first one `sent` bytes are. */
    struct bm_request *head, *tail;
    uint64_t sent;
    int64_t last_progress; /* bm_now_ms of the newest sign of life */
    bool lost;             /* the connection is of no use any more */
    unsigned attempts;     /* to connect again, since the last reply */
    int64_t lost_since;    /* bm_now_ms of the first of them */
    int write_error;       /* of the first write that failed */
};

/* Adds a request to the queue; refused ones are done at once. */
void bm_pieces_add(struct bm_nbd *conn, struct bm_request *req);

/* The request is done; a write that failed is remembered. */
void bm_pieces_done(struct bm_nbd *conn, struct bm_request *req, int error);

/* Puts as much of the queue on the wire as fits. */
void bm_pieces_feed(struct bm_nbd *conn);

/* Whether some piece is to be harvested. */
bool bm_pieces_back(const struct bm_nbd *conn);

/* Ends the requests that are done. Pieces that a lost connection gave back
 * stay, for bm_pieces_replay, and link->lost is set. */
void bm_pieces_harvest(struct bm_nbd *conn);

/* Sends one piece; all pieces again. */
void bm_pieces_send(struct bm_nbd *conn, struct bm_piece *piece);
void bm_pieces_replay(struct bm_nbd *conn);

/* All requests are done, with error. The handle must be gone. */
void bm_pieces_end(struct bm_nbd *conn, int error);

bool bm_pieces_idle(const struct bm_nbd *conn);

#endif
