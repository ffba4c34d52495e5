// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/nbd-private.h"

#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>

/* Lengths are 32 bits wide on the wire; QEMU's must be below 2 GiB. */
#define ZERO_MAX (UINT64_C(1) << 30)

/* What goes on the wire for BM_ZERO where the server cannot zero. */
static const char zeroes[256 << 10];

bool bm_pieces_idle(const struct bm_nbd *conn)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++)
        if (conn->pieces[i].req)
            return false;
    return true;
}

static struct bm_piece *free_piece(struct bm_nbd *conn)
{
    for (unsigned i = 0; i < BM_PIECES; i++)
        if (!conn->pieces[i].req)
            return &conn->pieces[i];
    return NULL;
}

static void release(struct bm_piece *piece)
{
    free(piece->bounce);
    memset(piece, 0, sizeof *piece);
}

void bm_pieces_done(struct bm_nbd *conn, struct bm_request *req, int error)
{
    if (req->op != BM_READ && !conn->write_error)
        conn->write_error = error;
    req->error = error;
    req->done = true;
}

static void dequeue(struct bm_nbd *conn)
{
    conn->head = conn->head->private;
    if (!conn->head)
        conn->tail = NULL;
    conn->sent = 0;
}

static bool is_unaligned(const struct bm_nbd *conn,
                         const struct bm_request *req)
{
    uint32_t block = conn->facts.minimum ? conn->facts.minimum : 1;

    return req->offset % block || req->len % block;
}

void bm_pieces_add(struct bm_nbd *conn, struct bm_request *req)
{
    req->private = NULL;
    req->done = false;
    req->error = 0;
    if (req->len == 0) {
        bm_pieces_done(conn, req, 0);
    } else if (req->op != BM_READ && is_unaligned(conn, req)) {
        bm_pieces_done(conn, req, EINVAL);
    } else if (conn->tail) {
        conn->tail->private = req;
        conn->tail = req;
    } else {
        conn->head = conn->tail = req;
    }
}

static int on_done(void *opaque, int *error)
{
    struct bm_piece *piece = opaque;

    piece->error = *error;
    piece->back = true;
    return 1; /* retire it */
}

/* The buffer is libnbd's to fill. */
static int on_chunk(void *opaque, const void *data, size_t count,
                    uint64_t offset, unsigned status, int *error)
{
    return 0;
}

static int64_t send_read(struct bm_nbd *conn, struct bm_piece *piece,
                         nbd_completion_callback done)
{
    nbd_chunk_callback chunk = {.callback = on_chunk};

    return conn->facts.whole_reads
               ? nbd_aio_pread_structured(conn->nbd, piece->buf, piece->len,
                                          piece->offset, chunk, done,
                                          LIBNBD_CMD_FLAG_DF)
               : nbd_aio_pread(conn->nbd, piece->buf, piece->len, piece->offset,
                               done, 0);
}

static int64_t send_command(struct bm_nbd *conn, struct bm_piece *piece)
{
    nbd_completion_callback done = {.callback = on_done, .user_data = piece};
    nbd_extent_callback status = {.callback = piece->status,
                                  .user_data = piece->opaque};

    switch (piece->command) {
    case BM_COMMAND_READ:
        return send_read(conn, piece, done);
    case BM_COMMAND_WRITE:
        return nbd_aio_pwrite(conn->nbd, piece->buf, piece->len, piece->offset,
                              done, 0);
    case BM_COMMAND_ZERO:
        return nbd_aio_zero(conn->nbd, piece->len, piece->offset, done, 0);
    case BM_COMMAND_FLUSH:
        return nbd_aio_flush(conn->nbd, done, 0);
    case BM_COMMAND_STATUS:
        return nbd_aio_block_status(conn->nbd, piece->len, piece->offset,
                                    status, done, 0);
    }
    return -1;
}

/* What cannot be sent comes back at once. */
void bm_pieces_send(struct bm_nbd *conn, struct bm_piece *piece)
{
    piece->back = false;
    piece->error = 0;
    if (send_command(conn, piece) < 0) {
        piece->error = nbd_get_errno() ? nbd_get_errno() : EIO;
        piece->back = true;
    }
}

void bm_pieces_replay(struct bm_nbd *conn)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++)
        if (conn->pieces[i].req)
            bm_pieces_send(conn, &conn->pieces[i]);
}

/* A unaligned end of a read, widened to the block it lies in. Those blocks go
 * alone, so that the bulk is never copied. */
static void widen(const struct bm_nbd *conn, struct bm_piece *piece,
                  uint32_t block)
{
    uint64_t end;

    piece->into = piece->buf;
    piece->skip = piece->offset % block;
    piece->n = piece->len;
    piece->offset -= piece->skip;
    end = piece->offset + block;
    if (end > conn->facts.size)
        end = conn->facts.size;
    piece->len = end - piece->offset;
    piece->bounce = malloc(piece->len);
    piece->buf = piece->bounce;
}

static uint64_t piece_max(const struct bm_nbd *conn, enum bm_op op)
{
    uint64_t max = conn->facts.maximum;

    if (op != BM_ZERO)
        return max;
    if (conn->facts.can_zero)
        return ZERO_MAX;
    return max < sizeof zeroes ? max : sizeof zeroes;
}

/* How much of [offset, offset+left) one piece can hold. */
static uint64_t piece_len(const struct bm_nbd *conn, enum bm_op op,
                          uint64_t offset, uint64_t left, uint32_t block)
{
    uint64_t max = piece_max(conn, op), skip = offset % block;

    if (skip)
        return left < block - skip ? left : block - skip;
    if (left > max)
        return max - max % block;
    if (left < block || offset + left == conn->facts.size)
        return left;
    return left - left % block;
}

static uint32_t block_of(const struct bm_nbd *conn, enum bm_op op)
{
    if (conn->facts.minimum)
        return conn->facts.minimum;
    return op == BM_READ ? BM_SAFE_MINIMUM : 1;
}

/* Takes the next piece off the first request of the queue. */
static void cut_piece(struct bm_nbd *conn, struct bm_piece *piece)
{
    struct bm_request *req = conn->head;
    uint32_t block = block_of(conn, req->op);
    uint64_t end;

    *piece = (struct bm_piece){.req = req,
                               .command = (enum bm_command)req->op,
                               .offset = req->offset + conn->sent};
    piece->len =
        piece_len(conn, req->op, piece->offset, req->len - conn->sent, block);
    end = piece->offset + piece->len;
    if (req->op != BM_ZERO)
        piece->buf = (char *)req->buf + conn->sent;
    conn->sent += piece->len;
    if (req->op == BM_READ &&
        (piece->offset % block || (end % block && end != conn->facts.size)))
        widen(conn, piece, block);
    if (req->op == BM_ZERO && !conn->facts.can_zero) {
        piece->command = BM_COMMAND_WRITE;
        piece->buf = (char *)(uintptr_t)zeroes; /* is only read from */
    }
    if (conn->sent == req->len)
        dequeue(conn);
}

void bm_pieces_feed(struct bm_nbd *conn)
{
    struct bm_piece *piece;

    while (conn->head && (piece = free_piece(conn))) {
        cut_piece(conn, piece);
        if (piece->into && !piece->bounce) {
            piece->error = ENOMEM;
            piece->back = true;
        } else {
            bm_pieces_send(conn, piece);
        }
    }
}

bool bm_pieces_back(const struct bm_nbd *conn)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++)
        if (conn->pieces[i].req && conn->pieces[i].back)
            return true;
    return false;
}

static bool is_pending(const struct bm_nbd *conn, const struct bm_request *req)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++)
        if (conn->pieces[i].req == req)
            return true;
    return conn->head == req;
}

static void finish(struct bm_nbd *conn, struct bm_piece *piece)
{
    struct bm_request *req = piece->req;

    if (piece->error == 0 && piece->bounce)
        memcpy(piece->into, piece->bounce + piece->skip, piece->n);
    if (piece->error && !req->error)
        req->error = piece->error;
    release(piece);
    if (req->error && conn->head == req)
        dequeue(conn); /* the rest of it is not worth sending */
    if (!is_pending(conn, req))
        bm_pieces_done(conn, req, req->error);
}

/* The second: a server that was told to end answers so until it does. */
static bool is_lost(int error)
{
    return error == ENOTCONN || error == ESHUTDOWN;
}

void bm_pieces_harvest(struct bm_nbd *conn)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++) {
        struct bm_piece *piece = &conn->pieces[i];

        if (!piece->req || !piece->back)
            continue;
        if (is_lost(piece->error)) {
            conn->lost = true;
        } else {
            conn->attempts = 0;
            finish(conn, piece);
        }
    }
}

void bm_pieces_end(struct bm_nbd *conn, int error)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++) {
        if (conn->pieces[i].req)
            bm_pieces_done(conn, conn->pieces[i].req, error);
        release(&conn->pieces[i]);
    }
    while (conn->head) {
        struct bm_request *req = conn->head;

        dequeue(conn);
        bm_pieces_done(conn, req, error);
    }
}
