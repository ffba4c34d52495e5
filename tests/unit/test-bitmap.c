// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The oracle of all operations is a naive model: a byte a block. */
#include "tests/unit/bitmap-fixture.h"

#define BLOCKS 20000 /* of the model: some words of the second level */

static uint8_t model[BLOCKS];

/* The same in the model; `first` and `last` are blocks. */
static void mark(uint64_t first, uint64_t last, bool set)
{
    for (uint64_t i = first; i < last && i < BLOCKS; i++)
        model[i] = set;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t model_count(uint64_t size)
{
    uint64_t bytes = 0;

    for (uint64_t i = 0; i < BLOCKS; i++)
        if (model[i])
            bytes += least(BLOCK, size - i * BLOCK);
    return bytes;
}

static bool model_next(bool clear, uint64_t offset, uint64_t end, uint64_t size,
                       uint64_t *run, uint64_t *length)
{
    uint64_t i = offset / BLOCK, j;

    end = least(end, size);
    while (i * BLOCK < end && model[i] == clear)
        i++;
    if (offset >= end || i * BLOCK >= end)
        return false;
    for (j = i; j * BLOCK < end && model[j] != clear; j++)
        ;
    *run = i * BLOCK > offset ? i * BLOCK : offset;
    *length = least(j * BLOCK, end) - *run;
    return true;
}

/* Short ranges and long ones, on and off the bounds of blocks. */
static uint64_t any_length(unsigned *seed, uint64_t size)
{
    static const uint64_t most[] = {1, BLOCK, 70 * BLOCK, 5000 * BLOCK};
    uint64_t length = any(seed) % (most[any(seed) % 4] + 1);

    if (any(seed) % 3 == 0)
        length = length / BLOCK * BLOCK;
    return any(seed) % 200 ? length : size;
}

static uint64_t any_offset(unsigned *seed, uint64_t size)
{
    uint64_t offset = any(seed) % (size + 2);

    return any(seed) % 2 ? offset : offset / BLOCK * BLOCK;
}

static void change(struct bm_bitmap *map, unsigned *seed, uint64_t size)
{
    uint64_t offset = any_offset(seed, size), length = any_length(seed, size);
    uint64_t end = least(offset + length, size);
    uint64_t first = (offset + BLOCK - 1) / BLOCK;

    switch (any(seed) % 3) {
    case 0:
        bm_bitmap_set(map, offset, length);
        if (end > offset)
            mark(offset / BLOCK, (end + BLOCK - 1) / BLOCK, true);
        break;
    case 1:
        bm_bitmap_clear(map, offset, length);
        if (end > offset)
            mark(first, end == size ? BLOCKS : end / BLOCK, false);
        break;
    default:
        cr_assert_eq(bm_bitmap_test_and_clear(map, offset),
                     offset < size && model[offset / BLOCK]);
        if (offset < size)
            model[offset / BLOCK] = 0;
    }
}

static void ask(const struct bm_bitmap *map, unsigned *seed, uint64_t size)
{
    uint64_t offset = any_offset(seed, size);
    uint64_t end = offset + any_length(seed, size);
    uint64_t run[2], length[2];
    bool clear = any(seed) % 2, found;

    cr_assert_eq(bm_bitmap_get(map, offset),
                 offset < size && model[offset / BLOCK]);
    found = bm_bitmap_next(map, clear, offset, end, &run[0], &length[0]);
    cr_assert_eq(found,
                 model_next(clear, offset, end, size, &run[1], &length[1]));
    if (found) {
        cr_assert_eq(run[0], run[1]);
        cr_assert_eq(length[0], length[1]);
    }
}

static void compare_all(const struct bm_bitmap *map, uint64_t size)
{
    cr_assert_eq(bm_bitmap_count(map), model_count(size));
    for (uint64_t i = 0; i * BLOCK < size; i++)
        cr_assert_eq(bm_bitmap_get(map, i * BLOCK), model[i], "block %d",
                     (int)i);
}

static void live(uint64_t size, unsigned seed)
{
    struct bm_bitmap *map = bm_bitmap_new(size, BLOCK);

    memset(model, 0, sizeof model);
    for (int i = 0; i < 20000; i++) {
        change(map, &seed, size);
        ask(map, &seed, size);
        if (i % 2000 == 0)
            compare_all(map, size);
    }
    compare_all(map, size);
    bm_bitmap_free(map);
}

Test(bitmap, does_what_the_model_does)
{
    live((uint64_t)BLOCKS * BLOCK, 1);
}

Test(bitmap, does_so_with_a_ragged_end)
{
    live((uint64_t)BLOCKS * BLOCK - 1, 2);
    live(19937 * (uint64_t)BLOCK + 512, 3);
    live(64 * BLOCK + 1, 4);
    live(4096 * (uint64_t)BLOCK, 5);
    live(BLOCK, 6);
    live(1, 7);
}

Test(bitmap, an_empty_device_has_nothing)
{
    struct bm_bitmap *map = bm_bitmap_new(0, BLOCK);
    uint64_t run, length;

    bm_bitmap_set(map, 0, UINT64_MAX);
    cr_expect_not(bm_bitmap_get(map, 0));
    cr_expect_not(bm_bitmap_test_and_clear(map, 0));
    cr_expect_eq(bm_bitmap_count(map), 0);
    cr_expect_not(bm_bitmap_next(map, false, 0, UINT64_MAX, &run, &length));
    cr_expect_not(bm_bitmap_next(map, true, 0, UINT64_MAX, &run, &length));
    bm_bitmap_free(map);
    bm_bitmap_free(NULL);
}

Test(bitmap, lengths_may_overflow)
{
    struct bm_bitmap *map = bm_bitmap_new(3 * BLOCK - 1, BLOCK);

    bm_bitmap_set(map, BLOCK, UINT64_MAX);
    cr_expect_eq(bm_bitmap_count(map), 2 * BLOCK - 1);
    bm_bitmap_clear(map, 2 * BLOCK, UINT64_MAX);
    cr_expect_eq(bm_bitmap_count(map), BLOCK);
    bm_bitmap_set(map, UINT64_MAX, UINT64_MAX);
    bm_bitmap_clear(map, UINT64_MAX, UINT64_MAX);
    cr_expect_eq(bm_bitmap_count(map), BLOCK);
    bm_bitmap_free(map);
}

/* The last block is covered by what covers its bytes. */
Test(bitmap, clears_a_short_last_block)
{
    struct bm_bitmap *map = bm_bitmap_new(BLOCK + 100, BLOCK);

    bm_bitmap_set(map, 0, BLOCK + 100);
    bm_bitmap_clear(map, BLOCK, 99);
    cr_expect(bm_bitmap_get(map, BLOCK));
    bm_bitmap_clear(map, BLOCK + 1, 99);
    cr_expect(bm_bitmap_get(map, BLOCK));
    bm_bitmap_clear(map, BLOCK, 100);
    cr_expect_not(bm_bitmap_get(map, BLOCK));
    bm_bitmap_free(map);
}

static long resident(void)
{
    return atol(
        fixture_word("awk '/^VmRSS/ {print $2}' /proc/%d/status", getpid()));
}

Test(bitmap, of_64_tib_uses_memory_for_what_is_set)
{
    long before = resident();
    struct bm_bitmap *map = bm_bitmap_new(64 * TIB, BLOCK);
    uint64_t run, length, at = 0;
    int n = 0;

    for (uint64_t i = 0; i < 64; i++)
        bm_bitmap_set(map, i * TIB + 5 * BLOCK, 1);
    for (; bm_bitmap_next(map, false, at, UINT64_MAX, &run, &length); n++) {
        cr_assert_eq(run, (uint64_t)n * TIB + 5 * BLOCK);
        cr_assert_eq(length, BLOCK);
        at = run + length;
    }
    cr_expect_eq(n, 64);
    cr_expect_eq(bm_bitmap_count(map), 64 * BLOCK);
#ifndef __SANITIZE_THREAD__ /* whose shadow counts several times */
    if (!getenv("BM_UNMEASURED"))
        cr_expect_lt(resident() - before, 8 * 1024, "kB");
#else
    (void)before;
#endif
    bm_bitmap_free(map);
}

/* The levels above know what was cleared, or each search takes 2 ms. */
Test(bitmap, stays_fast_after_all_was_cleared, .timeout = 5)
{
    struct bm_bitmap *map = bm_bitmap_new(16 * TIB, BLOCK);
    uint64_t run, length;

    bm_bitmap_set(map, 0, 16 * TIB);
    bm_bitmap_clear(map, 0, 16 * TIB);
    for (int i = 0; i < 10000; i++)
        cr_assert_not(bm_bitmap_next(map, false, 0, UINT64_MAX, &run, &length));
    bm_bitmap_free(map);
}

/* --- whole bitmaps --- */

#define RAGGED ((uint64_t)BLOCKS * BLOCK - 7)

/* Two with single blocks here and there, some of them in both. */
static void scatter(struct bm_bitmap **a, struct bm_bitmap **b)
{
    unsigned seed = 8;

    *a = bm_bitmap_new(RAGGED, BLOCK);
    *b = bm_bitmap_new(RAGGED, BLOCK);
    for (int i = 0; i < 3000; i++) {
        uint64_t offset = any(&seed) % RAGGED;

        if (i % 3 != 0)
            bm_bitmap_set(*a, offset, 1);
        if (i % 3 != 1)
            bm_bitmap_set(*b, offset, 1);
    }
}

Test(bitmap, merge_is_or)
{
    BM_BITMAP *a = NULL, *b = NULL;

    scatter(&a, &b);
    for (uint64_t i = 0; i < BLOCKS; i++)
        model[i] = bm_bitmap_get(a, i * BLOCK) || bm_bitmap_get(b, i * BLOCK);
    cr_assert_eq(bm_bitmap_merge(a, b, NULL), 0);
    compare_all(a, RAGGED);
    bm_bitmap_clear(a, 0, RAGGED);
    cr_expect_eq(bm_bitmap_count(a), 0);
}

Test(bitmap, subtract_is_and_not)
{
    BM_BITMAP *a = NULL, *b = NULL;

    scatter(&a, &b);
    for (uint64_t i = 0; i < BLOCKS; i++)
        model[i] = bm_bitmap_get(a, i * BLOCK) && !bm_bitmap_get(b, i * BLOCK);
    cr_assert_eq(bm_bitmap_subtract(a, b, NULL), 0);
    compare_all(a, RAGGED);
    cr_assert_eq(bm_bitmap_subtract(a, a, NULL), 0);
    cr_expect_eq(bm_bitmap_count(a), 0);
}

Test(bitmap, invert_is_not)
{
    BM_BITMAP *a = NULL, *b = NULL;

    scatter(&a, &b);
    for (uint64_t i = 0; i < BLOCKS; i++)
        model[i] = !bm_bitmap_get(a, i * BLOCK);
    bm_bitmap_invert(a);
    compare_all(a, RAGGED);
    bm_bitmap_set(a, 0, RAGGED);
    bm_bitmap_invert(a);
    cr_expect_eq(bm_bitmap_count(a), 0);
    bm_bitmap_invert(a);
    cr_expect_eq(bm_bitmap_count(a), RAGGED);
}

static void expect_no_match(uint64_t size, uint32_t block)
{
    BM_BITMAP *a = bm_bitmap_new(10 * BLOCK, BLOCK);
    BM_BITMAP *b = bm_bitmap_new(size, block);
    struct bm_error err = BM_ERROR_INIT;

    bm_bitmap_set(b, 0, size);
    cr_expect_eq(bm_bitmap_merge(a, b, &err), -EINVAL);
    cr_expect_eq(err.code, EINVAL);
    cr_expect_eq(bm_bitmap_count(a), 0);
    bm_bitmap_invert(a);
    cr_expect_eq(bm_bitmap_subtract(a, b, &err), -EINVAL);
    cr_expect_eq(bm_bitmap_count(a), 10 * BLOCK);
}

Test(bitmap, what_does_not_match_is_not_combined)
{
    expect_no_match(10 * BLOCK + 1, BLOCK);
    expect_no_match(10 * BLOCK, 2 * BLOCK);
}
