// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/bad-areas.h"

#include "nbd/base/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PIECE ((size_t)256 << 10)

void bm_bad_areas_clear(struct bm_bad_areas *bad)
{
    free(bad->ranges);
    free(bad->filled);
    memset(bad, 0, sizeof *bad);
}

/* --- which --- */

static bool is_filled(const struct bm_mapfile *map, uint64_t offset,
                      uint64_t length)
{
    for (size_t i = 0; i < map->n_notes; i++) {
        uint64_t from, bytes;

        if (sscanf(map->notes[i], "filled %" SCNx64 " %" SCNx64, &from,
                   &bytes) == 2 &&
            offset >= from && length <= bytes &&
            offset - from <= bytes - length)
            return true;
    }
    return false;
}

/* Neighbours that are bad in two ways are one range. */
static int add(struct bm_bad_areas *bad, uint64_t offset, uint64_t length)
{
    struct bm_range *last = bad->n ? &bad->ranges[bad->n - 1] : NULL;
    struct bm_range *ranges;
    bool *filled;

    if (last && last->offset + last->length == offset) {
        last->length += length;
        return 0;
    }
    ranges = reallocarray(bad->ranges, bad->n + 1, sizeof *ranges);
    if (ranges)
        bad->ranges = ranges;
    filled = reallocarray(bad->filled, bad->n + 1, sizeof *filled);
    if (filled)
        bad->filled = filled;
    if (!ranges || !filled)
        return -ENOMEM;
    ranges[bad->n++] = (struct bm_range){offset, length};
    return 0;
}

static void judge(struct bm_bad_areas *bad, const struct bm_mapfile *map)
{
    for (size_t i = 0; i < bad->n; i++) {
        const struct bm_range *range = &bad->ranges[i];

        bad->filled[i] = is_filled(map, range->offset, range->length);
        if (bad->filled[i])
            bad->filled_bytes += range->length;
        else
            bad->unreadable += range->length;
    }
}

int bm_bad_areas_list(const struct bm_mapfile *map, struct bm_bad_areas *out)
{
    int rc = 0;

    memset(out, 0, sizeof *out);
    for (size_t i = 0; rc == 0 && i < map->n; i++) {
        uint64_t end = i + 1 < map->n ? map->areas[i + 1].offset : map->size;

        if (map->areas[i].status != BM_AREA_FINISHED)
            rc = add(out, map->areas[i].offset, end - map->areas[i].offset);
    }
    judge(out, map);
    return rc;
}

int bm_bad_areas_load(const char *path, uint64_t size, struct bm_bad_areas *out,
                      struct bm_error *err)
{
    BM_MAPFILE *map = NULL;
    int rc = bm_mapfile_load(path, size, &map, err);

    memset(out, 0, sizeof *out);
    if (rc == 0 && bm_bad_areas_list(map, out) != 0)
        rc = bm_fail_errno(err, ENOMEM, "cannot read %s", path);
    return rc;
}

/* --- what stands there --- */

static void close_device(struct bm_device **dev)
{
    bm_device_close(*dev);
}

/* The map tells afterwards which bytes are whose. */
static int note(struct bm_mapfile *map, const struct bm_range *range,
                const char *from, struct bm_error *err)
{
    char key[64];

    snprintf(key, sizeof key, "filled 0x%08" PRIX64 " 0x%08" PRIX64,
             range->offset, range->length);
    if (bm_mapfile_note(map, key, from) != 0)
        return bm_fail_errno(err, ENOMEM, "cannot fill from %s", from);
    return 0;
}

/* *whole: all of it was read. */
static int fill_range(struct bm_device *target, struct bm_device *other,
                      const struct bm_range *range, bool *whole,
                      struct bm_error *err)
{
    BM_FREE void *buf = aligned_alloc(BM_BUFFER_ALIGN, PIECE);
    int rc = buf ? 0 : bm_fail_errno(err, ENOMEM, "cannot fill");

    *whole = true;
    for (uint64_t at = 0; rc == 0 && *whole && at < range->length;
         at += PIECE) {
        uint64_t left = range->length - at, offset = range->offset + at;
        size_t len = left < PIECE ? (size_t)left : PIECE;

        rc = bm_device_pread(other, 0, buf, len, offset, err);
        *whole = !bm_is_bad_sector(-rc);
        if (rc == 0)
            rc = bm_device_pwrite(target, 0, buf, len, offset, err);
    }
    return *whole ? rc : 0;
}

int bm_bad_areas_fill(struct bm_mapfile *map, struct bm_device *target,
                      const char *from, bool share, struct bm_error *err)
{
    __attribute__((cleanup(close_device))) struct bm_device *other = NULL;
    const struct bm_open how = {.share = share};
    BM_BAD_AREAS bad = {0};
    int rc = bm_device_open(from, &how, &other, err);

    if (rc == 0 && other->size < map->size) {
        bm_fail(err, EINVAL, "cannot fill from %s", other->name);
        return bm_cause(err, "it is shorter than what it is to fill"), -EINVAL;
    }
    if (rc == 0 && bm_bad_areas_list(map, &bad) != 0)
        rc = bm_fail_errno(err, ENOMEM, "cannot fill from %s", from);
    for (size_t i = 0; rc == 0 && i < bad.n; i++) {
        bool whole = false;

        if (bad.filled[i])
            continue;
        rc = fill_range(target, other, &bad.ranges[i], &whole, err);
        if (rc == 0 && whole)
            rc = note(map, &bad.ranges[i], from, err);
        else if (rc == 0)
            rc = bm_device_zero(target, 0, bad.ranges[i].length,
                                bad.ranges[i].offset, err);
    }
    return rc ? rc : bm_device_flush(target, err);
}

int bm_bad_areas_zero(const struct bm_mapfile *map, struct bm_device *target,
                      struct bm_error *err)
{
    BM_BAD_AREAS bad = {0};
    int rc = bm_bad_areas_list(map, &bad);

    if (rc)
        return bm_fail_errno(err, ENOMEM, "cannot zero %s", target->name);
    for (size_t i = 0; rc == 0 && i < bad.n; i++)
        if (!bad.filled[i])
            rc = bm_device_zero(target, 0, bad.ranges[i].length,
                                bad.ranges[i].offset, err);
    return rc ? rc : bm_device_flush(target, err);
}
