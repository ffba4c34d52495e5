// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The map in memory. */
#include "nbd/base/units.h"
#include "tests/unit/mapfile-fixture.h"

#if defined(__SANITIZE_ADDRESS__) ||                                           \
    defined(__SANITIZE_THREAD__) /* their memmove is slow */
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

/* Areas cover everything, and neighbours differ. */
static void check_form(const struct bm_mapfile *map)
{
    cr_assert_eq(map->areas[0].offset, 0);
    for (size_t i = 1; i < map->n; i++) {
        cr_assert_lt(map->areas[i - 1].offset, map->areas[i].offset);
        cr_assert_neq(map->areas[i - 1].status, map->areas[i].status);
    }
    cr_assert_lt(map->areas[map->n - 1].offset, map->size);
}

Test(mapfile, is_untried_at_first)
{
    struct bm_mapfile *map = bm_mapfile_new(SIZE);

    cr_expect(map->n == 1 && map->areas[0].status == BM_AREA_UNTRIED);
    cr_expect(map->phase == '?' && map->pass == 1 && map->current == 0);
    cr_expect_eq(bm_mapfile_bytes(map, BM_AREA_UNTRIED), SIZE);
    bm_mapfile_free(map);
}

Test(mapfile, of_nothing)
{
    struct bm_mapfile *map = bm_mapfile_new(0), *again;
    uint64_t offset, length;

    must_set(map, 0, 100, BM_AREA_BAD);
    cr_expect_eq(map->n, 0);
    cr_expect_not(
        bm_mapfile_next(map, BM_AREA_UNTRIED, 0, UINT64_MAX, &offset, &length));
    cr_expect_not(
        bm_mapfile_last(map, BM_AREA_UNTRIED, 0, UINT64_MAX, &offset, &length));
    must_save(map, "m");
    again = must_load("m", 0);
    cr_expect_eq(again->n, 0);
    bm_mapfile_free(again);
    bm_mapfile_free(map);
}

Test(mapfile, set_splits_and_merges)
{
    struct bm_mapfile *map = bm_mapfile_new(10);

    must_set(map, 3, 4, BM_AREA_FINISHED);
    cr_expect_str_eq(drawn(map, 1), "\?\?\?++++\?\?\?");
    must_set(map, 4, 2, BM_AREA_BAD);
    cr_expect_str_eq(drawn(map, 1), "\?\?\?+--+\?\?\?");
    cr_expect_eq(map->n, 5);
    must_set(map, 4, 2, BM_AREA_FINISHED);
    cr_expect_eq(map->n, 3);
    must_set(map, 0, 3, BM_AREA_FINISHED);
    must_set(map, 7, 100, BM_AREA_FINISHED);
    cr_expect_eq(map->n, 1);
    bm_mapfile_free(map);
}

/* Whatever is set, the map says what an array of bytes says. */
static void against_a_model(unsigned seed)
{
    static const char kinds[] = "?*/-+";
    enum { N = 97 };
    struct bm_mapfile *map = bm_mapfile_new(N);
    char model[N + 1];

    memset(model, '?', N);
    model[N] = '\0';
    srandom(seed);
    for (int i = 0; i < 3000; i++) {
        uint64_t offset = (uint64_t)random() % (N + 3);
        uint64_t length = (uint64_t)random() % (random() % 8 ? 6 : N);
        char kind = kinds[random() % 5];

        must_set(map, offset, length, (enum bm_area)kind);
        for (uint64_t j = offset; j < offset + length && j < N; j++)
            model[j] = kind;
        check_form(map);
        cr_assert_str_eq(drawn(map, 1), model, "seed %u step %d", seed, i);
    }
    bm_mapfile_free(map);
}

Test(mapfile, random_sets_equal_a_naive_model)
{
    for (unsigned seed = 1; seed <= 20; seed++)
        against_a_model(seed);
}

/* The first run of '-' in [from, to) of the drawing, or the last one. */
static bool naive(const char *model, size_t from, size_t to, bool last,
                  uint64_t *offset, uint64_t *length)
{
    bool found = false;

    for (size_t i = from; i < to; i++) {
        bool more = i > from && model[i - 1] == '-';

        if (model[i] != '-')
            continue;
        if (found && !more && !last)
            return true;
        if (!more) {
            *offset = i;
            *length = 0;
        }
        found = true;
        ++*length;
    }
    return found;
}

static void search(const struct bm_mapfile *map, const char *model, size_t from,
                   size_t to)
{
    size_t top = to < map->size ? to : map->size;

    for (int last = 0; last < 2; last++) {
        uint64_t offset = 0, length = 0, o = 0, l = 0;
        bool found =
            last
                ? bm_mapfile_last(map, BM_AREA_BAD, from, to, &offset, &length)
                : bm_mapfile_next(map, BM_AREA_BAD, from, to, &offset, &length);

        cr_assert_eq(found, naive(model, from, top, last, &o, &l));
        cr_assert(offset == o && length == l, "%s [%zu, %zu)", model, from, to);
    }
}

Test(mapfile, searches_both_ways)
{
    struct bm_mapfile *map = bm_mapfile_new(40);
    char model[41];

    srandom(7);
    for (int i = 0; i < 30; i++) {
        must_set(map, (uint64_t)random() % 40, (uint64_t)random() % 7,
                 random() % 2 ? BM_AREA_BAD : BM_AREA_FINISHED);
        strcpy(model, drawn(map, 1));
        for (size_t from = 0; from <= 40; from++)
            for (size_t to = from; to <= 42; to++)
                search(map, model, from, to);
    }
    bm_mapfile_free(map);
}

Test(mapfile, counts_bytes_and_areas)
{
    struct bm_mapfile *map = bm_mapfile_new(SIZE);

    must_set(map, 0, 512, BM_AREA_BAD);
    must_set(map, 1024, 1024, BM_AREA_BAD);
    must_set(map, SIZE - 1, 1, BM_AREA_BAD);
    cr_expect_eq(bm_mapfile_bytes(map, BM_AREA_BAD), 512 + 1024 + 1);
    cr_expect_eq(bm_mapfile_areas(map, BM_AREA_BAD), 3);
    cr_expect_eq(bm_mapfile_areas(map, BM_AREA_UNTRIED), 2);
    bm_mapfile_free(map);
}

Test(mapfile, a_hundred_thousand_areas)
{
    struct bm_mapfile *map = bm_mapfile_new(UINT64_C(1) << 40), *again;
    uint64_t n = sanitized ? 10000 : 50000;
    int64_t start = bm_now_ms();

    for (uint64_t i = 0; i < n; i++) /* in no order */
        must_set(map, i * 7919 % n * 2048 + 512, 512, BM_AREA_BAD);
    cr_expect_eq(map->n, 2 * n + 1);
    must_save(map, "m");
    again = must_load("m", map->size);
    same_maps(map, again);
    cr_expect_lt(bm_now_ms() - start, 4000);
    bm_mapfile_free(map);
    bm_mapfile_free(again);
}

Test(mapfile, notes_are_replaced)
{
    struct bm_mapfile *map = bm_mapfile_new(SIZE);

    cr_expect_null(bm_mapfile_noted(map, "a"));
    cr_assert_eq(bm_mapfile_note(map, "ab", "1"), 0);
    cr_assert_eq(bm_mapfile_note(map, "a", "2"), 0);
    cr_assert_eq(bm_mapfile_note(map, "ab", "3"), 0);
    cr_expect_str_eq(bm_mapfile_noted(map, "ab"), "3");
    cr_expect_str_eq(bm_mapfile_noted(map, "a"), "2");
    cr_expect_eq(map->n_notes, 2);
    cr_expect_eq(bm_mapfile_note(map, "a", "two\nlines"), -EINVAL);
    bm_mapfile_free(map);
}
