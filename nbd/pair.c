// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/pair.h"

#include "nbd/cleanup.h"

#include <errno.h>
#include <string.h>

#define BLOCK ((size_t)BM_DIGEST_BLOCK)
#define PIECE_BLOCKS 4u /* 256 KiB: two of them fit any L2 cache */
#define DEPTH 4u        /* pieces in flight: enough to keep a server busy */
#define RUNS 512        /* extents fetched at a time */

/* Some blocks in flight from both sides, or from the one that has data. */
struct piece {
    size_t first, n; /* blocks, from the start of the span */
    struct bm_read reads[2];
    bool asked[2];
};

struct side {
    struct bm_device *dev;
    struct bm_link *link;
    uint64_t size;
    bool data[BM_SPAN_BLOCKS]; /* of the span: must be read */
};

struct bm_pair {
    struct side sides[2];
    unsigned connection;
    struct bm_hasher *hasher;
    char *buffers; /* DEPTH pieces for each side */
    struct piece pieces[DEPTH];
};

static void set_side(struct side *side, struct bm_device *dev,
                     unsigned connection)
{
    side->dev = dev;
    side->link = bm_device_link(dev, connection);
    side->size = bm_device_size(dev);
}

struct bm_pair *bm_pair_new(struct bm_device *a, struct bm_device *b,
                            unsigned connection, struct bm_error *err)
{
    struct bm_pair *pair = calloc(1, sizeof *pair);

    if (pair) {
        set_side(&pair->sides[0], a, connection);
        set_side(&pair->sides[1], b, connection);
        pair->connection = connection;
        pair->buffers = aligned_alloc(4096, 2 * DEPTH * PIECE_BLOCKS * BLOCK);
    }
    if (!pair || !pair->buffers) {
        bm_fail_errno(err, ENOMEM, "cannot compare");
        bm_pair_free(pair);
        return NULL;
    }
    pair->hasher = bm_hasher_new(err);
    if (!pair->hasher)
        bm_pair_free(BM_STEAL(pair));
    return pair;
}

void bm_pair_free(struct bm_pair *pair)
{
    if (!pair)
        return;
    bm_hasher_free(pair->hasher);
    free(pair->buffers);
    free(pair);
}

/* Bytes of block number i that this side has: fewer at its end. */
static size_t block_len(const struct side *side, uint64_t block)
{
    uint64_t offset = block * BLOCK;

    if (offset >= side->size)
        return 0;
    return side->size - offset < BLOCK ? (size_t)(side->size - offset) : BLOCK;
}

static void mark(struct side *side, uint64_t base, const struct bm_extent *run)
{
    size_t from = (size_t)((run->offset - base) / BLOCK);
    size_t to =
        (size_t)((run->offset + run->length - base + BLOCK - 1) / BLOCK);

    if (!run->zero)
        memset(side->data + from, true, (to - from) * sizeof *side->data);
}

/* Which blocks of the span this side must read: a block is zero only if the
 * whole of it is. */
static int find_data(struct bm_pair *pair, struct side *side,
                     const struct bm_span *span, struct bm_error *err)
{
    uint64_t base = span->first * BLOCK, offset = base;
    uint64_t end = base + span->n_blocks * BLOCK;
    struct bm_extent runs[RUNS];
    size_t n;
    int rc = 0;

    memset(side->data, 0, sizeof side->data);
    if (end > side->size)
        end = side->size;
    while (rc == 0 && offset < end) {
        rc = bm_device_extents(side->dev, pair->connection, offset,
                               end - offset, runs, RUNS, &n, err);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            mark(side, base, &runs[i]);
            offset = runs[i].offset + runs[i].length;
        }
    }
    return rc;
}

/* md of a block of which data may be NULL: then it is zero. */
static int digest_block(struct bm_pair *pair, const char *data, size_t len,
                        uint8_t *md)
{
    if (len == 0) /* this side has ended */
        return 0;
    return data ? bm_hasher_block(pair->hasher, data, len, md)
                : bm_hasher_zero(pair->hasher, len, md);
}

static bool is_equal(const char *const data[2], const size_t len[2])
{
    if (len[0] != len[1])
        return false;
    if (data[0] && data[1])
        return memcmp(data[0], data[1], len[0]) == 0;
    if (data[0] || data[1])
        return bm_is_zero(data[0] ? data[0] : data[1], len[0]);
    return true;
}

/* Equal blocks are hashed once. */
static int judge_block(struct bm_pair *pair, struct bm_span *span, size_t i,
                       const char *const data[2])
{
    uint8_t *a = span->mds[0] + i * BM_DIGEST_LEN;
    uint8_t *b = span->mds[1] + i * BM_DIGEST_LEN;
    size_t len[2] = {block_len(&pair->sides[0], span->first + i),
                     block_len(&pair->sides[1], span->first + i)};
    int rc = digest_block(pair, data[0], len[0], a);

    span->differ[i] = !is_equal(data, len);
    if (rc == 0 && span->differ[i])
        rc = digest_block(pair, data[1], len[1], b);
    else if (rc == 0)
        memcpy(b, a, BM_DIGEST_LEN);
    return rc;
}

static int judge_piece(struct bm_pair *pair, struct bm_span *span,
                       const struct piece *piece)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < piece->n; i++) {
        const char *data[2] = {NULL, NULL};

        for (int s = 0; s < 2; s++)
            if (piece->asked[s])
                data[s] = (const char *)piece->reads[s].buf + i * BLOCK;
        rc = judge_block(pair, span, piece->first + i, data);
    }
    return rc;
}

/* Bytes of n blocks, of the side that has more of them. */
static uint64_t span_bytes(const struct bm_pair *pair,
                           const struct bm_span *span, size_t first, size_t n)
{
    uint64_t start = (span->first + first) * BLOCK, end = start + n * BLOCK;
    uint64_t size = pair->sides[0].size > pair->sides[1].size
                        ? pair->sides[0].size
                        : pair->sides[1].size;

    return (end < size ? end : size) - start;
}

/* The blocks from `first` on that need the same reads, at most max. */
static size_t alike(const struct bm_pair *pair, const struct bm_span *span,
                    size_t first, size_t max)
{
    const bool *a = pair->sides[0].data, *b = pair->sides[1].data;
    size_t n = 1;

    while (first + n < span->n_blocks && n < max && a[first + n] == a[first] &&
           b[first + n] == b[first])
        n++;
    return n;
}

static int ask_side(struct bm_pair *pair, const struct bm_span *span,
                    struct piece *piece, int s, struct bm_error *err)
{
    struct side *side = &pair->sides[s];
    size_t slot = (size_t)(piece - pair->pieces) * 2 + (size_t)s;
    uint64_t offset = (span->first + piece->first) * BLOCK;
    uint64_t len = piece->n * BLOCK;
    int rc;

    if (len > side->size - offset)
        len = side->size - offset;
    piece->reads[s] =
        (struct bm_read){.buf = pair->buffers + slot * PIECE_BLOCKS * BLOCK,
                         .len = (size_t)len,
                         .offset = offset};
    rc = bm_link_submit(side->link, &piece->reads[s], err);
    piece->asked[s] = rc == 0;
    return rc;
}

static int ask_piece(struct bm_pair *pair, const struct bm_span *span,
                     struct piece *piece, size_t first, struct bm_error *err)
{
    int rc = 0;

    piece->first = first;
    piece->n = alike(pair, span, first, PIECE_BLOCKS);
    for (int s = 0; s < 2; s++) {
        piece->asked[s] = false;
        if (rc == 0 && pair->sides[s].data[first])
            rc = ask_side(pair, span, piece, s, err);
    }
    return rc;
}

static int wait_piece(struct bm_pair *pair, struct piece *piece,
                      struct bm_error *err)
{
    struct bm_link *links[2] = {pair->sides[0].link, pair->sides[1].link};
    struct bm_read *reads[2] = {piece->asked[0] ? &piece->reads[0] : NULL,
                                piece->asked[1] ? &piece->reads[1] : NULL};

    return bm_link_wait(links, reads, 2, err);
}

/* After a failure: no server may write into our buffers any more. To wait
 * for the answers could take as long as the deadline of a stuck server. */
static void settle(struct bm_pair *pair)
{
    for (size_t i = 0; i < DEPTH; i++)
        for (int s = 0; s < 2; s++)
            if (pair->pieces[i].asked[s] && !pair->pieces[i].reads[s].done)
                bm_link_abandon(pair->sides[s].link);
}

/* Judges blocks that neither side needs to read. */
static int skip_zeroes(struct bm_pair *pair, struct bm_span *span, size_t first,
                       size_t *n)
{
    const struct piece nothing = {.first = first,
                                  .n = *n = alike(pair, span, first, SIZE_MAX)};

    return judge_piece(pair, span, &nothing);
}

/* A ring of pieces: those from head to tail are in flight, in order. */
struct ring {
    size_t head, tail, next; /* next block to ask for */
};

static int ask_more(struct bm_pair *pair, struct bm_span *span,
                    struct ring *ring, uint64_t *bytes, struct bm_error *err)
{
    bool data =
        pair->sides[0].data[ring->next] || pair->sides[1].data[ring->next];
    struct piece *piece = &pair->pieces[ring->tail % DEPTH];
    size_t n = 0;
    int rc;

    if (data) {
        rc = ask_piece(pair, span, piece, ring->next, err);
        ring->tail++;
        n = piece->n;
    } else {
        rc = skip_zeroes(pair, span, ring->next, &n);
        *bytes = span_bytes(pair, span, ring->next, n);
        if (rc != 0)
            bm_fail_errno(err, -rc, "cannot compute SHA-256");
    }
    ring->next += n;
    return rc;
}

static int take_one(struct bm_pair *pair, struct bm_span *span,
                    struct ring *ring, uint64_t *bytes, struct bm_error *err)
{
    struct piece *piece = &pair->pieces[ring->head++ % DEPTH];
    int rc = wait_piece(pair, piece, err);

    if (rc != 0)
        return rc;
    rc = judge_piece(pair, span, piece);
    if (rc != 0)
        return bm_fail_errno(err, -rc, "cannot compute SHA-256");
    *bytes = span_bytes(pair, span, piece->first, piece->n);
    span->data_read += *bytes;
    return 0;
}

static int read_span(struct bm_pair *pair, struct bm_span *span,
                     bm_pair_tick tick, void *opaque, struct bm_error *err)
{
    struct ring ring = {0, 0, 0};
    int rc = 0;

    while (rc == 0 && (ring.next < span->n_blocks || ring.head < ring.tail)) {
        uint64_t bytes = 0;

        if (ring.next < span->n_blocks && ring.tail - ring.head < DEPTH)
            rc = ask_more(pair, span, &ring, &bytes, err);
        else
            rc = take_one(pair, span, &ring, &bytes, err);
        if (rc == 0 && tick(opaque, bytes) != 0)
            rc = bm_fail_errno(err, ECANCELED, "cannot compare");
    }
    return rc;
}

static void count_mds(const struct bm_pair *pair, struct bm_span *span)
{
    for (int s = 0; s < 2; s++) {
        span->n_mds[s] = 0;
        for (size_t i = 0; i < span->n_blocks; i++)
            span->n_mds[s] += block_len(&pair->sides[s], span->first + i) > 0;
    }
}

int bm_pair_run(struct bm_pair *pair, struct bm_span *span, bm_pair_tick tick,
                void *opaque, struct bm_error *err)
{
    int rc = find_data(pair, &pair->sides[0], span, err);

    span->data_read = 0;
    count_mds(pair, span);
    if (rc == 0)
        rc = find_data(pair, &pair->sides[1], span, err);
    if (rc == 0)
        rc = read_span(pair, span, tick, opaque, err);
    if (rc != 0)
        settle(pair);
    return rc;
}
