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

bool bm_pieces_idle(const struct bm_link *link)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++)
        if (link->pieces[i].req)
            return false;
    return true;
}

static struct bm_piece *free_piece(struct bm_link *link)
{
    for (unsigned i = 0; i < BM_PIECES; i++)
        if (!link->pieces[i].req)
            return &link->pieces[i];
    return NULL;
}

static void release(struct bm_piece *piece)
{
    free(piece->bounce);
    memset(piece, 0, sizeof *piece);
}

void bm_pieces_done(struct bm_link *link, struct bm_request *req, int error)
{
    if (req->op != BM_READ && !link->write_error)
        link->write_error = error;
    req->error = error;
    req->done = true;
}

static void dequeue(struct bm_link *link)
{
    link->head = link->head->private;
    if (!link->head)
        link->tail = NULL;
    link->sent = 0;
}

static bool is_ragged(const struct bm_link *link, const struct bm_request *req)
{
    uint32_t block = link->facts.minimum ? link->facts.minimum : 1;

    return req->offset % block || req->len % block;
}

void bm_pieces_add(struct bm_link *link, struct bm_request *req)
{
    req->private = NULL;
    req->done = false;
    req->error = 0;
    if (req->len == 0) {
        bm_pieces_done(link, req, 0);
    } else if (req->op != BM_READ && is_ragged(link, req)) {
        bm_pieces_done(link, req, EINVAL);
    } else if (link->tail) {
        link->tail->private = req;
        link->tail = req;
    } else {
        link->head = link->tail = req;
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

static int64_t send_read(struct bm_link *link, struct bm_piece *piece,
                         nbd_completion_callback done)
{
    nbd_chunk_callback chunk = {.callback = on_chunk};

    return link->facts.whole_reads
               ? nbd_aio_pread_structured(link->nbd, piece->buf, piece->len,
                                          piece->offset, chunk, done,
                                          LIBNBD_CMD_FLAG_DF)
               : nbd_aio_pread(link->nbd, piece->buf, piece->len, piece->offset,
                               done, 0);
}

static int64_t send_command(struct bm_link *link, struct bm_piece *piece)
{
    nbd_completion_callback done = {.callback = on_done, .user_data = piece};
    nbd_extent_callback status = {.callback = piece->status,
                                  .user_data = piece->opaque};

    switch (piece->command) {
    case BM_COMMAND_READ:
        return send_read(link, piece, done);
    case BM_COMMAND_WRITE:
        return nbd_aio_pwrite(link->nbd, piece->buf, piece->len, piece->offset,
                              done, 0);
    case BM_COMMAND_ZERO:
        return nbd_aio_zero(link->nbd, piece->len, piece->offset, done, 0);
    case BM_COMMAND_FLUSH:
        return nbd_aio_flush(link->nbd, done, 0);
    case BM_COMMAND_STATUS:
        return nbd_aio_block_status(link->nbd, piece->len, piece->offset,
                                    status, done, 0);
    }
    return -1;
}

/* What cannot be sent comes back at once. */
void bm_pieces_send(struct bm_link *link, struct bm_piece *piece)
{
    piece->back = false;
    piece->error = 0;
    if (send_command(link, piece) < 0) {
        piece->error = nbd_get_errno() ? nbd_get_errno() : EIO;
        piece->back = true;
    }
}

void bm_pieces_replay(struct bm_link *link)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++)
        if (link->pieces[i].req)
            bm_pieces_send(link, &link->pieces[i]);
}

/* A ragged end of a read, widened to the block it lies in. Those blocks go
 * alone, so that the bulk is never copied. */
static void widen(const struct bm_link *link, struct bm_piece *piece,
                  uint32_t block)
{
    uint64_t end;

    piece->into = piece->buf;
    piece->skip = piece->offset % block;
    piece->n = piece->len;
    piece->offset -= piece->skip;
    end = piece->offset + block;
    if (end > link->facts.size)
        end = link->facts.size;
    piece->len = end - piece->offset;
    piece->bounce = malloc(piece->len);
    piece->buf = piece->bounce;
}

static uint64_t piece_max(const struct bm_link *link, enum bm_op op)
{
    uint64_t max = link->facts.maximum;

    if (op != BM_ZERO)
        return max;
    if (link->facts.can_zero)
        return ZERO_MAX;
    return max < sizeof zeroes ? max : sizeof zeroes;
}

/* How much of [offset, offset+left) one piece can hold. */
static uint64_t piece_len(const struct bm_link *link, enum bm_op op,
                          uint64_t offset, uint64_t left, uint32_t block)
{
    uint64_t max = piece_max(link, op), skip = offset % block;

    if (skip)
        return left < block - skip ? left : block - skip;
    if (left > max)
        return max - max % block;
    if (left < block || offset + left == link->facts.size)
        return left;
    return left - left % block;
}

static uint32_t block_of(const struct bm_link *link, enum bm_op op)
{
    if (link->facts.minimum)
        return link->facts.minimum;
    return op == BM_READ ? BM_SAFE_MINIMUM : 1;
}

/* Takes the next piece off the first request of the queue. */
static void cut_piece(struct bm_link *link, struct bm_piece *piece)
{
    struct bm_request *req = link->head;
    uint32_t block = block_of(link, req->op);
    uint64_t end;

    *piece = (struct bm_piece){.req = req,
                               .command = (enum bm_command)req->op,
                               .offset = req->offset + link->sent};
    piece->len =
        piece_len(link, req->op, piece->offset, req->len - link->sent, block);
    end = piece->offset + piece->len;
    if (req->op != BM_ZERO)
        piece->buf = (char *)req->buf + link->sent;
    link->sent += piece->len;
    if (req->op == BM_READ &&
        (piece->offset % block || (end % block && end != link->facts.size)))
        widen(link, piece, block);
    if (req->op == BM_ZERO && !link->facts.can_zero) {
        piece->command = BM_COMMAND_WRITE;
        piece->buf = (char *)(uintptr_t)zeroes; /* is only read from */
    }
    if (link->sent == req->len)
        dequeue(link);
}

void bm_pieces_feed(struct bm_link *link)
{
    struct bm_piece *piece;

    while (link->head && (piece = free_piece(link))) {
        cut_piece(link, piece);
        if (piece->into && !piece->bounce) {
            piece->error = ENOMEM;
            piece->back = true;
        } else {
            bm_pieces_send(link, piece);
        }
    }
}

bool bm_pieces_back(const struct bm_link *link)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++)
        if (link->pieces[i].req && link->pieces[i].back)
            return true;
    return false;
}

static bool is_pending(const struct bm_link *link, const struct bm_request *req)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++)
        if (link->pieces[i].req == req)
            return true;
    return link->head == req;
}

static void finish(struct bm_link *link, struct bm_piece *piece)
{
    struct bm_request *req = piece->req;

    if (piece->error == 0 && piece->bounce)
        memcpy(piece->into, piece->bounce + piece->skip, piece->n);
    if (piece->error && !req->error)
        req->error = piece->error;
    release(piece);
    if (req->error && link->head == req)
        dequeue(link); /* the rest of it is not worth sending */
    if (!is_pending(link, req))
        bm_pieces_done(link, req, req->error);
}

/* The second: a server that was told to end answers so until it does. */
static bool is_lost(int error)
{
    return error == ENOTCONN || error == ESHUTDOWN;
}

void bm_pieces_harvest(struct bm_link *link)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++) {
        struct bm_piece *piece = &link->pieces[i];

        if (!piece->req || !piece->back)
            continue;
        if (is_lost(piece->error)) {
            link->lost = true;
        } else {
            link->attempts = 0;
            finish(link, piece);
        }
    }
}

void bm_pieces_end(struct bm_link *link, int error)
{
    for (unsigned i = 0; i <= BM_PIECE_SYNC; i++) {
        if (link->pieces[i].req)
            bm_pieces_done(link, link->pieces[i].req, error);
        release(&link->pieces[i]);
    }
    while (link->head) {
        struct bm_request *req = link->head;

        dequeue(link);
        bm_pieces_done(link, req, error);
    }
}
