// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A map of what was rescued, in GNU ddrescue's format (the manual of ddrescue
 * 1.27, "Mapfile structure"): read by ddrescue, ddrescuelog and nbdkit's
 * ddrescue filter, and theirs are read here.
 *
 * Areas cover [0, size) without gaps, ascending, neighbours differ (nbdkit's
 * filter wants a request inside one line).
 *
 * Threads: one at a time, or under the owner's lock.
 */
#ifndef BM_NBD_MAP_MAPFILE_H
#define BM_NBD_MAP_MAPFILE_H

#include "nbd/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The status characters of the format. */
enum bm_area {
    BM_AREA_UNTRIED = '?',
    BM_AREA_UNTRIMMED = '*',
    BM_AREA_UNSCRAPED = '/',
    BM_AREA_BAD = '-',
    BM_AREA_FINISHED = '+',
};

struct bm_mapfile {
    uint64_t size;    /* bytes of the device */
    uint64_t current; /* current_pos */
    char phase;       /* current_status: ? * / - F G + */
    unsigned pass;    /* current_pass, from 1 */
    /* areas: the start of each and its status, n of them, ascending */
    struct bm_map_area {
        uint64_t offset;
        enum bm_area status;
    } * areas;
    size_t n, room;
    char **notes; /* comment lines of ours without '#', kept over a save */
    size_t n_notes;
};

/* All untried. NULL: out of memory. size may be 0. */
struct bm_mapfile *bm_mapfile_new(uint64_t size);
void bm_mapfile_free(struct bm_mapfile *map); /* accepts NULL */
static inline void bm_cleanup_mapfile(struct bm_mapfile **map)
{
    bm_mapfile_free(*map);
}
/* A local that is freed at the end of its scope. */
#define BM_MAPFILE                                                             \
    __attribute__((cleanup(bm_cleanup_mapfile))) struct bm_mapfile

/* Of an image of size bytes. A map that ends early is untried from there on,
 * as is what lies before its first area. -EBADMSG with the line number: it
 * is not such a file, has a gap, or goes beyond size. */
int bm_mapfile_load(const char *path, uint64_t size, struct bm_mapfile **out,
                    struct bm_error *err);
/* Replaced atomically (temporary name, fsync, rename, fsync of the folder). */
int bm_mapfile_save(struct bm_mapfile *map, const char *path,
                    struct bm_error *err);

/* -ENOMEM leaves it as it was. Clamped to size. */
int bm_mapfile_set(struct bm_mapfile *map, uint64_t offset, uint64_t length,
                   enum bm_area status);
enum bm_area bm_mapfile_get(const struct bm_mapfile *map, uint64_t offset);

/* The first area with this status that touches [from, to), clamped to it; or,
 * for the other direction, the last one. false: none. */
bool bm_mapfile_next(const struct bm_mapfile *map, enum bm_area status,
                     uint64_t from, uint64_t to, uint64_t *offset,
                     uint64_t *length);
bool bm_mapfile_last(const struct bm_mapfile *map, enum bm_area status,
                     uint64_t from, uint64_t to, uint64_t *offset,
                     uint64_t *length);

/* Bytes, and areas, with the status. */
uint64_t bm_mapfile_bytes(const struct bm_mapfile *map, enum bm_area status);
size_t bm_mapfile_areas(const struct bm_mapfile *map, enum bm_area status);

/* A note "key: value", replaced or added; in the file it is the comment
 * "# blockmig key: value". -EINVAL: a newline in it, or ": " in the key. noted:
 * the value, NULL: there is none. */
int bm_mapfile_note(struct bm_mapfile *map, const char *key, const char *value);
const char *bm_mapfile_noted(const struct bm_mapfile *map, const char *key);

#endif
