// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Bad ranges: what a rescue could not read, by its map (nbd/map/mapfile.h), and
 * which of it an older copy has filled. What was filled stays bad in the map,
 * which is about the source, with a note that says whose bytes are there.
 */
#ifndef BM_IMAGE_BAD_AREAS_H
#define BM_IMAGE_BAD_AREAS_H

#include "nbd/base/range.h"
#include "nbd/device/device.h"
#include "nbd/map/mapfile.h"

struct bm_bad_areas {
    struct bm_range *ranges; /* ascending; owned */
    bool *filled;            /* of each; owned */
    size_t n;
    uint64_t unreadable, filled_bytes; /* each byte is one of them */
};
#define BM_BAD_AREAS                                                           \
    __attribute__((cleanup(bm_bad_areas_clear))) struct bm_bad_areas

/* All that is not finished. -ENOMEM; clear it also then. */
int bm_bad_areas_list(const struct bm_mapfile *map, struct bm_bad_areas *out);
/* Of the map in a file, of an image of that size. */
int bm_bad_areas_load(const char *path, uint64_t size, struct bm_bad_areas *out,
                      struct bm_error *err);
void bm_bad_areas_clear(struct bm_bad_areas *bad);

/*
 * Writes what the copy `from` (probed; one that names a backing file is
 * refused) has in the bad ranges to the target, durably, and notes it in the
 * map, which is not saved. It is at least as large. A range that it cannot
 * read either stays unreadable. share: take no lock on it.
 */
int bm_bad_areas_fill(struct bm_mapfile *map, struct bm_device *target,
                      const char *from, bool share, struct bm_error *err);
/* Zeroes what is not filled, durably. */
int bm_bad_areas_zero(const struct bm_mapfile *map, struct bm_device *target,
                      struct bm_error *err);

#endif
