// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A bitmap over the blocks of a device: dirty blocks, blocks to copy, blocks
 * that are proven. Made for 64 TiB at 64 KiB (2^30 bits, 128 MiB): a summary
 * level skips what is empty, so that finding the next run costs what is set,
 * not what there is.
 *
 * Threads: one at a time, or under the owner's lock.
 */
#ifndef BM_NBD_MAP_BITMAP_H
#define BM_NBD_MAP_BITMAP_H

#include "nbd/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct bm_bitmap;

/* All clear. size: bytes of the device; block: bytes a bit, a power of two.
 * Memory for untouched parts is not used (calloc of whole pages). */
struct bm_bitmap *bm_bitmap_new(uint64_t size, uint32_t block);
void bm_bitmap_free(struct bm_bitmap *map); /* accepts NULL */
static inline void bm_cleanup_bitmap(struct bm_bitmap **map)
{
    bm_bitmap_free(*map);
}
/* A local that is freed at the end of its scope. */
#define BM_BITMAP __attribute__((cleanup(bm_cleanup_bitmap))) struct bm_bitmap
uint64_t bm_bitmap_size(const struct bm_bitmap *map);
uint32_t bm_bitmap_block(const struct bm_bitmap *map);

/* Ranges are bytes. set marks each block the range touches; clear only those
 * that it covers (the last block of the device may be short). Ranges beyond
 * the end are clamped. */
void bm_bitmap_set(struct bm_bitmap *map, uint64_t offset, uint64_t length);
void bm_bitmap_clear(struct bm_bitmap *map, uint64_t offset, uint64_t length);
bool bm_bitmap_get(const struct bm_bitmap *map, uint64_t offset);
/* Clears the block at offset and tells whether it was set. */
bool bm_bitmap_test_and_clear(struct bm_bitmap *map, uint64_t offset);

/* The first run of set (or, with `clear`, of clear) blocks at or after offset,
 * within [offset, end): false: none. The run is clamped to the range and to
 * the device, in bytes. */
bool bm_bitmap_next(const struct bm_bitmap *map, bool clear, uint64_t offset,
                    uint64_t end, uint64_t *run, uint64_t *length);
uint64_t bm_bitmap_count(const struct bm_bitmap *map); /* bytes that are set */

/* into |= from, and from &= ~what. Of the same size and block: else -EINVAL. */
int bm_bitmap_merge(struct bm_bitmap *into, const struct bm_bitmap *from,
                    struct bm_error *err);
int bm_bitmap_subtract(struct bm_bitmap *from, const struct bm_bitmap *what,
                       struct bm_error *err);
/* Set becomes clear, and clear becomes set. */
void bm_bitmap_invert(struct bm_bitmap *map);

/* A file, replaced atomically and durably, with a SHA-256 over all of it.
 * load: -EBADMSG when it is damaged, cut off or not a bitmap. */
int bm_bitmap_save(const struct bm_bitmap *map, const char *path,
                   struct bm_error *err);
int bm_bitmap_load(const char *path, struct bm_bitmap **out,
                   struct bm_error *err);

#endif
