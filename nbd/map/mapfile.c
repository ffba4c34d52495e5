// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/map/mapfile.h"

#include "nbd/base/cleanup.h"

#include <errno.h>
#include <string.h>

/* What one change can leave: the area before, the new one, the one after. */
#define PIECES 3

/* Room for n areas in all. */
static int reserve(struct bm_mapfile *map, size_t n)
{
    struct bm_map_area *areas;
    size_t room = map->room ? map->room : 64;

    while (room < n)
        room *= 2;
    if (room == map->room)
        return 0;
    areas = reallocarray(map->areas, room, sizeof *areas);
    if (!areas)
        return -ENOMEM;
    map->areas = areas;
    map->room = room;
    return 0;
}

struct bm_mapfile *bm_mapfile_new(uint64_t size)
{
    struct bm_mapfile *map = calloc(1, sizeof *map);

    if (!map)
        return NULL;
    *map =
        (struct bm_mapfile){.size = size, .phase = BM_AREA_UNTRIED, .pass = 1};
    if (reserve(map, PIECES) != 0) {
        bm_mapfile_free(map);
        return NULL;
    }
    map->n = size > 0;
    map->areas[0] = (struct bm_map_area){0, BM_AREA_UNTRIED};
    return map;
}

void bm_mapfile_free(struct bm_mapfile *map)
{
    if (!map)
        return;
    for (size_t i = 0; i < map->n_notes; i++)
        free(map->notes[i]);
    free(map->notes);
    free(map->areas);
    free(map);
}

/* The index of the area that holds offset, which is below size. */
static size_t find(const struct bm_mapfile *map, uint64_t offset)
{
    size_t low = 0, high = map->n;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (map->areas[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static uint64_t end_of(const struct bm_mapfile *map, size_t i)
{
    return i + 1 < map->n ? map->areas[i + 1].offset : map->size;
}

/* Some areas that take the place of others; neighbours always differ. */
struct splice {
    size_t low, high; /* what they replace: [low, high) */
    size_t n;
    struct bm_map_area pieces[PIECES];
};

static void add_piece(struct splice *s, uint64_t offset, enum bm_area status)
{
    if (s->n == 0 || s->pieces[s->n - 1].status != status)
        s->pieces[s->n++] = (struct bm_map_area){offset, status};
}

/* What [offset, end) with this status makes of the areas it touches, and of
 * the ones beside them, with which it may become one. */
static struct splice plan(const struct bm_mapfile *map, uint64_t offset,
                          uint64_t end, enum bm_area status)
{
    size_t first = find(map, offset), last = find(map, end - 1);
    struct splice s = {.low = first, .high = last + 1};

    if (map->areas[first].offset == offset && first > 0)
        s.low--;
    if (s.low < first || map->areas[first].offset < offset)
        add_piece(&s, map->areas[s.low].offset, map->areas[s.low].status);
    add_piece(&s, offset, status);
    if (end < end_of(map, last))
        add_piece(&s, end, map->areas[last].status);
    else if (s.high < map->n)
        add_piece(&s, end, map->areas[s.high++].status);
    return s;
}

int bm_mapfile_set(struct bm_mapfile *map, uint64_t offset, uint64_t length,
                   enum bm_area status)
{
    struct splice s;

    if (offset >= map->size || length == 0)
        return 0;
    if (length > map->size - offset)
        length = map->size - offset;
    s = plan(map, offset, offset + length, status);
    if (reserve(map, map->n + s.n - (s.high - s.low)) != 0)
        return -ENOMEM;
    memmove(map->areas + s.low + s.n, map->areas + s.high,
            (map->n - s.high) * sizeof *map->areas);
    memcpy(map->areas + s.low, s.pieces, s.n * sizeof *s.pieces);
    map->n += s.n;
    map->n -= s.high - s.low;
    return 0;
}

enum bm_area bm_mapfile_get(const struct bm_mapfile *map, uint64_t offset)
{
    return offset < map->size ? map->areas[find(map, offset)].status
                              : BM_AREA_UNTRIED;
}

/* Area i, clamped to [from, to). */
static void clamp(const struct bm_mapfile *map, size_t i, uint64_t from,
                  uint64_t to, uint64_t *offset, uint64_t *length)
{
    uint64_t start = map->areas[i].offset, end = end_of(map, i);

    *offset = start > from ? start : from;
    *length = (end < to ? end : to) - *offset;
}

bool bm_mapfile_next(const struct bm_mapfile *map, enum bm_area status,
                     uint64_t from, uint64_t to, uint64_t *offset,
                     uint64_t *length)
{
    if (to > map->size)
        to = map->size;
    if (from >= to)
        return false;
    for (size_t i = find(map, from); i < map->n && map->areas[i].offset < to;
         i++)
        if (map->areas[i].status == status) {
            clamp(map, i, from, to, offset, length);
            return true;
        }
    return false;
}

bool bm_mapfile_last(const struct bm_mapfile *map, enum bm_area status,
                     uint64_t from, uint64_t to, uint64_t *offset,
                     uint64_t *length)
{
    if (to > map->size)
        to = map->size;
    if (from >= to)
        return false;
    for (size_t i = find(map, to - 1) + 1; i-- > 0 && end_of(map, i) > from;)
        if (map->areas[i].status == status) {
            clamp(map, i, from, to, offset, length);
            return true;
        }
    return false;
}

uint64_t bm_mapfile_bytes(const struct bm_mapfile *map, enum bm_area status)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < map->n; i++)
        if (map->areas[i].status == status)
            bytes += end_of(map, i) - map->areas[i].offset;
    return bytes;
}

size_t bm_mapfile_areas(const struct bm_mapfile *map, enum bm_area status)
{
    size_t areas = 0;

    for (size_t i = 0; i < map->n; i++)
        areas += map->areas[i].status == status;
    return areas;
}

/* The note with this key, or NULL. */
static char **find_note(const struct bm_mapfile *map, const char *key)
{
    size_t len = strlen(key);

    for (size_t i = 0; i < map->n_notes; i++)
        if (strncmp(map->notes[i], key, len) == 0 &&
            strncmp(map->notes[i] + len, ": ", 2) == 0)
            return &map->notes[i];
    return NULL;
}

int bm_mapfile_note(struct bm_mapfile *map, const char *key, const char *value)
{
    char **old = find_note(map, key), **notes;
    BM_FREE char *line = NULL;

    if (!key[0] || strstr(key, ": ") || strchr(key, '\n') ||
        strchr(value, '\n'))
        return -EINVAL;
    if (asprintf(&line, "%s: %s", key, value) < 0)
        return -ENOMEM;
    if (old) {
        free(*old);
        *old = BM_STEAL(line);
        return 0;
    }
    notes = reallocarray(map->notes, map->n_notes + 1, sizeof *notes);
    if (!notes)
        return -ENOMEM;
    map->notes = notes;
    map->notes[map->n_notes++] = BM_STEAL(line);
    return 0;
}

const char *bm_mapfile_noted(const struct bm_mapfile *map, const char *key)
{
    char **note = find_note(map, key);

    return note ? *note + strlen(key) + 2 : NULL;
}
