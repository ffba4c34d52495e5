// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An image that is one layer of a chain: it holds what the old layer holds and
 * nothing else, and what shines through comes from the layers below. So what
 * each of them proves of itself is together a proof of the disk.
 */
#include "blockmig/replica/replica-private.h"

#include <errno.h>
#include <string.h>

/* Blocks at a time, of digests that are handed on. */
#define BATCH 256

/* --- nothing beyond --- */

unsigned bm_replica_own(const struct bm_replica *replica)
{
    return replica->how->own ? replica->how->own : 1;
}

static int map_of(struct bm_replica *replica, const struct bm_chain *chain,
                  unsigned depth, struct bm_bitmap **out, struct bm_error *err)
{
    BM_FROZEN_CHAIN view = {0};
    int rc;

    *out = bm_replica_bitmap(replica);
    if (!*out)
        return bm_replica_no_memory(replica, err);
    rc = bm_frozen_chain_open(chain, depth, &view, err);
    return rc ? rc : bm_frozen_chain_dirty(&view, *out, err);
}

int bm_replica_bounds(struct bm_replica *replica, const struct bm_chain *view,
                      const struct bm_chain *image, struct bm_error *err)
{
    BM_BITMAP *old = NULL;
    BM_BITMAP *new = NULL;
    int rc = map_of(replica, view, bm_replica_own(replica), &old, err);

    if (!rc)
        rc = map_of(replica, image, 1, &new, err);
    if (!rc)
        rc = bm_bitmap_subtract(new, old, err);
    return rc || bm_bitmap_count(new) == 0
               ? rc
               : bm_replica_failed(replica, new, image->layers[0].path,
                                   "hold something, where the old layer holds "
                                   "nothing",
                                   err);
}

/* --- the digests of what others hold --- */

static int hand_on(struct bm_replica *from, struct bm_replica *to,
                   uint64_t first, size_t n, struct bm_error *err)
{
    uint8_t mds[BATCH * BM_DIGEST_MAX];
    enum bm_entry kinds[BATCH];
    bool zero[BATCH];
    int rc = bm_manifest_get(from->digests, first, n, mds, kinds, err);

    for (size_t i = 0; i < n; i++)
        zero[i] = kinds[i] == BM_ENTRY_ZERO;
    return rc ? rc : bm_manifest_set(to->digests, first, n, mds, zero, err);
}

static int hand_on_run(struct bm_replica *from, struct bm_replica *to,
                       uint64_t at, uint64_t length, struct bm_error *err)
{
    uint64_t first = at / BM_DIGEST_BLOCK;
    uint64_t n = (length + BM_DIGEST_BLOCK - 1) / BM_DIGEST_BLOCK;
    int rc = 0;

    for (uint64_t i = 0; !rc && i < n; i += BATCH)
        rc = hand_on(from, to, first + i, n - i < BATCH ? n - i : BATCH, err);
    if (!rc) {
        bm_bitmap_set(to->done, at, length);
        bm_bitmap_set(to->proven, at, length);
    }
    return rc;
}

/* Up to where blocks of both are the same bytes: of layers of different size
 * the last block of the shorter one is cut off. */
static uint64_t common(const struct bm_replica *a, const struct bm_replica *b)
{
    uint64_t size = a->how->size < b->how->size ? a->how->size : b->how->size;

    return a->how->size == b->how->size ? size : size - size % BM_DIGEST_BLOCK;
}

/* The manifest first: `done` says that its entries are there. */
static int keep(struct bm_replica *replica, struct bm_error *err)
{
    int rc = bm_manifest_sync(replica->digests, err);

    if (!rc)
        rc = bm_bitmap_save(replica->proven, replica->files[BM_REPLICA_PROVEN],
                            err);
    return rc ? rc : bm_replica_save(replica, err);
}

int bm_replica_inherit(struct bm_replica *replica, struct bm_replica *below,
                       struct bm_error *err)
{
    uint64_t end = common(replica, below), at = 0, length, from, run;
    int rc = 0;

    for (; !rc && bm_bitmap_next(replica->done, true, at, end, &at, &length);
         at += length)
        for (from = at; !rc && bm_bitmap_next(below->done, false, from,
                                              at + length, &from, &run);
             from += run)
            rc = hand_on_run(below, replica, from, run, err);
    return rc ? rc : keep(replica, err);
}

int bm_replica_fill(struct bm_replica *replica, const struct bm_chain *chain,
                    struct bm_error *err)
{
    BM_BITMAP *rest = bm_replica_bitmap(replica);
    BM_FROZEN_CHAIN view = {0};
    struct bm_scan scan;
    int rc;

    if (!rest)
        return bm_replica_no_memory(replica, err);
    bm_bitmap_invert(rest);
    rc = bm_bitmap_subtract(rest, replica->done, err);
    if (rc || bm_bitmap_count(rest) == 0)
        return rc;
    rc = bm_frozen_chain_open(chain, 0, &view, err);
    if (rc)
        return rc;
    scan = bm_replica_scan(replica, view.device, rest);
    rc = bm_scan_hash(&scan, replica->digests, err);
    if (!rc)
        rc = bm_bitmap_merge(replica->done, rest, err);
    if (!rc)
        rc = bm_bitmap_merge(replica->proven, rest, err);
    return rc ? rc : keep(replica, err);
}
