// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the tests of mapfiles share. */
#ifndef TESTS_UNIT_MAPFILE_FIXTURE_H
#define TESTS_UNIT_MAPFILE_FIXTURE_H

#include "nbd/map/mapfile.h"
#include "tests/unit/fixture.h"

#include <errno.h>

TestSuite(mapfile, .init = fixture_setup, .fini = fixture_teardown);

#define SIZE (UINT64_C(1) << 20)

static inline struct bm_mapfile *must_load(const char *name, uint64_t size)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_mapfile *map = NULL;

    ok(bm_mapfile_load(name, size, &map, &err), err);
    return map;
}

static inline void must_set(struct bm_mapfile *map, uint64_t offset,
                            uint64_t length, enum bm_area status)
{
    cr_assert_eq(bm_mapfile_set(map, offset, length, status), 0);
}

static inline void must_save(struct bm_mapfile *map, const char *name)
{
    struct bm_error err = BM_ERROR_INIT;

    ok(bm_mapfile_save(map, name, &err), err);
}

/* A letter for each unit of the map. */
static inline const char *drawn(const struct bm_mapfile *map, uint64_t unit)
{
    static char text[256];
    size_t n = 0;

    for (uint64_t at_ = 0; at_ < map->size; at_ += unit)
        text[n++] = (char)bm_mapfile_get(map, at_);
    text[n] = '\0';
    return text;
}

static inline void same_maps(const struct bm_mapfile *a,
                             const struct bm_mapfile *b)
{
    cr_assert_eq(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        cr_assert_eq(a->areas[i].offset, b->areas[i].offset);
        cr_assert_eq(a->areas[i].status, b->areas[i].status);
    }
}

static inline void make_sample(const char *name)
{
    struct bm_mapfile *map = bm_mapfile_new(SIZE);

    must_set(map, 0, SIZE, BM_AREA_FINISHED);
    must_set(map, 65536, 512, BM_AREA_BAD);
    must_set(map, 131072, 4096, BM_AREA_UNTRIMMED);
    must_set(map, 262144, 4096, BM_AREA_UNSCRAPED);
    must_set(map, SIZE - 4096, 4096, BM_AREA_UNTRIED);
    map->phase = '*';
    map->current = 65536;
    cr_assert_eq(bm_mapfile_note(map, "source", "nbd://a b # c"), 0);
    must_save(map, name);
    bm_mapfile_free(map);
}

#endif
