// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The oracle of all operations is a naive model: a byte a block. */
#include "nbd/bitmap.h"
#include "tests/unit/fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define KIB 1024u
#define TIB (UINT64_C(1) << 40)
#define BLOCK (64 * KIB)
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

static uint64_t any(unsigned *seed)
{
    return (uint64_t)rand_r(seed) << 31 ^ (unsigned)rand_r(seed);
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
    cr_expect_lt(resident() - before, 8 * 1024, "kB");
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

/* --- merging --- */

Test(bitmap, merge_is_or)
{
    uint64_t size = (uint64_t)BLOCKS * BLOCK - 7;
    struct bm_bitmap *a = bm_bitmap_new(size, BLOCK);
    struct bm_bitmap *b = bm_bitmap_new(size, BLOCK);
    unsigned seed = 8;

    for (int i = 0; i < 3000; i++) {
        uint64_t offset = any(&seed) % size;

        bm_bitmap_set(i % 2 ? a : b, offset, 1);
        model[offset / BLOCK] = 1;
    }
    cr_assert_eq(bm_bitmap_merge(a, b, NULL), 0);
    compare_all(a, size);
    bm_bitmap_clear(a, 0, size);
    cr_expect_eq(bm_bitmap_count(a), 0);
    bm_bitmap_free(a);
    bm_bitmap_free(b);
}

static void expect_no_merge(uint64_t size, uint32_t block)
{
    struct bm_bitmap *a = bm_bitmap_new(10 * BLOCK, BLOCK);
    struct bm_bitmap *b = bm_bitmap_new(size, block);
    struct bm_error err = BM_ERROR_INIT;

    bm_bitmap_set(b, 0, size);
    cr_expect_eq(bm_bitmap_merge(a, b, &err), -EINVAL);
    cr_expect_eq(err.code, EINVAL);
    cr_expect_eq(bm_bitmap_count(a), 0);
    bm_bitmap_free(a);
    bm_bitmap_free(b);
}

Test(bitmap, what_does_not_match_is_not_merged)
{
    expect_no_merge(10 * BLOCK + 1, BLOCK);
    expect_no_merge(10 * BLOCK, 2 * BLOCK);
}

/* --- files --- */

TestSuite(bitmap_file, .init = fixture_setup, .fini = fixture_teardown);

/* Sparse and dense parts, as `seed` has it. */
static struct bm_bitmap *some(uint64_t size, unsigned seed)
{
    struct bm_bitmap *map = bm_bitmap_new(size, BLOCK);

    for (int i = 0; i < 200; i++)
        bm_bitmap_set(map, any(&seed) % size, any(&seed) % (20 * BLOCK));
    return map;
}

static void expect_equal(const struct bm_bitmap *a, const struct bm_bitmap *b)
{
    uint64_t at = 0, run[2], length[2];

    cr_assert_eq(bm_bitmap_size(a), bm_bitmap_size(b));
    cr_assert_eq(bm_bitmap_block(a), bm_bitmap_block(b));
    cr_assert_eq(bm_bitmap_count(a), bm_bitmap_count(b));
    while (bm_bitmap_next(a, false, at, UINT64_MAX, &run[0], &length[0])) {
        cr_assert(
            bm_bitmap_next(b, false, at, UINT64_MAX, &run[1], &length[1]));
        cr_assert_eq(run[0], run[1]);
        cr_assert_eq(length[0], length[1]);
        at = run[0] + length[0];
    }
}

static void expect_round_trip(struct bm_bitmap *map)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_bitmap *loaded = NULL;

    cr_assert_eq(bm_bitmap_save(map, at("map"), &err), 0, "%s", err.cause);
    cr_assert_eq(bm_bitmap_load(at("map"), &loaded, &err), 0, "%s", err.cause);
    expect_equal(map, loaded);
    bm_bitmap_free(loaded);
    bm_bitmap_free(map);
}

Test(bitmap_file, comes_back_as_it_was)
{
    struct bm_bitmap *full = bm_bitmap_new(TIB - 1, BLOCK);

    bm_bitmap_set(full, 0, TIB);
    expect_round_trip(full);
    expect_round_trip(bm_bitmap_new(0, BLOCK));
    expect_round_trip(bm_bitmap_new(1, 512));
    for (unsigned seed = 0; seed < 20; seed++)
        expect_round_trip(some(20000 * (uint64_t)BLOCK + seed, seed));
}

Test(bitmap_file, of_64_tib_that_is_empty_is_small)
{
    struct stat st;

    expect_round_trip(bm_bitmap_new(64 * TIB, BLOCK));
    cr_assert_eq(stat(at("map"), &st), 0);
    cr_expect_lt(st.st_size, 4096);
}

Test(bitmap_file, replaces_the_old_one_and_leaves_nothing_beside_it)
{
    sh("echo old > map; chmod 600 map");
    expect_round_trip(some(1000 * BLOCK, 1));
    cr_expect_str_eq(fixture_word("ls -A | wc -l"), "1");
}

Test(bitmap_file, stays_when_the_new_one_cannot_be_written)
{
    struct bm_bitmap *map = some(1000 * BLOCK, 1), *loaded = NULL;
    struct rlimit limit = {64, 64};
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(bm_bitmap_save(map, at("map"), NULL), 0);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_expect_eq(bm_bitmap_save(map, at("map"), &err), -EFBIG);
    cr_expect_not_null(strstr(err.what, "map"));
    cr_assert_eq(bm_bitmap_load(at("map"), &loaded, NULL), 0);
    expect_equal(map, loaded);
    bm_bitmap_free(loaded);
    bm_bitmap_free(map);
}

static void expect_refused(int code)
{
    struct bm_bitmap *loaded = NULL;
    struct bm_error err = BM_ERROR_INIT;

    cr_expect_eq(bm_bitmap_load(at("map"), &loaded, &err), -code);
    cr_expect_eq(err.code, code);
    cr_expect_null(loaded);
}

Test(bitmap_file, each_damaged_byte_is_seen)
{
    struct bm_bitmap *map = bm_bitmap_new(1000 * BLOCK, BLOCK);
    struct stat st;

    bm_bitmap_set(map, 5 * BLOCK, 7 * BLOCK);
    cr_assert_eq(bm_bitmap_save(map, at("map"), NULL), 0);
    bm_bitmap_free(map);
    cr_assert_eq(stat(at("map"), &st), 0);
    for (off_t i = 0; i < st.st_size; i++) {
        FILE *f = fopen(at("map"), "r+");
        int byte;

        fseek(f, i, SEEK_SET);
        byte = fgetc(f);
        fseek(f, i, SEEK_SET);
        fputc(byte ^ 1, f);
        fflush(f);
        expect_refused(EBADMSG);
        fseek(f, i, SEEK_SET);
        fputc(byte, f);
        fclose(f);
    }
    cr_assert_eq(bm_bitmap_load(at("map"), &map, NULL), 0);
    bm_bitmap_free(map);
}

Test(bitmap_file, each_shorter_file_is_refused)
{
    struct bm_bitmap *map = some(1000 * BLOCK, 1);
    struct stat st;

    cr_assert_eq(bm_bitmap_save(map, at("map"), NULL), 0);
    bm_bitmap_free(map);
    cr_assert_eq(stat(at("map"), &st), 0);
    for (off_t len = st.st_size - 1; len >= 0; len--) {
        cr_assert_eq(truncate(at("map"), len), 0);
        expect_refused(EBADMSG);
    }
}

Test(bitmap_file, a_longer_file_is_refused)
{
    struct bm_bitmap *map = some(1000 * BLOCK, 1);

    cr_assert_eq(bm_bitmap_save(map, at("map"), NULL), 0);
    bm_bitmap_free(map);
    sh("echo >> map");
    expect_refused(EBADMSG);
}

Test(bitmap_file, a_foreign_file_is_refused)
{
    sh("head -c 100000 /dev/urandom > map");
    expect_refused(EBADMSG);
    sh("truncate -s 0 map; truncate -s 64M map");
    expect_refused(EBADMSG);
}

Test(bitmap_file, none_is_told_apart_from_a_damaged_one)
{
    expect_refused(ENOENT);
}

/* --- what only the proposed file keeps --- */

Test(bitmap_file, of_a_map_full_of_short_runs_is_not_larger_than_the_bits)
{
    uint64_t size = 100000 * (uint64_t)BLOCK + 1;
    struct bm_bitmap *map = bm_bitmap_new(size, BLOCK);
    struct stat st;

    for (uint64_t i = 0; i < size; i += 2 * BLOCK)
        bm_bitmap_set(map, i, 1);
    expect_round_trip(map);
    cr_assert_eq(stat(at("map"), &st), 0);
    cr_expect_lt(st.st_size, 100000 / 8 + 2 * 4096);
}

Test(bitmap_file, dense_and_sparse_parts_come_back)
{
    for (unsigned seed = 0; seed < 12; seed++) {
        uint64_t size = 150000 * (uint64_t)BLOCK + seed;
        struct bm_bitmap *map = some(size, seed);
        unsigned dice = seed;

        for (unsigned i = 0; i < 1500 * seed; i++)
            bm_bitmap_set(map, any(&dice) % size, 1);
        expect_round_trip(map);
    }
}

Test(bitmap_file, one_that_could_not_be_written_leaves_nothing)
{
    struct bm_bitmap *map = some(1000 * BLOCK, 1);
    struct rlimit limit = {64, 64};

    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_expect_eq(bm_bitmap_save(map, at("map"), NULL), -EFBIG);
    cr_assert_eq(rmdir(fixture_dir), 0);
    cr_assert_eq(mkdir(fixture_dir, 0700), 0);
    bm_bitmap_free(map);
}

/* Told by its head, not after all of it was read. */
Test(bitmap_file, a_huge_foreign_file_is_refused_at_once, .timeout = 2)
{
    sh("truncate -s 15G map");
    expect_refused(EBADMSG);
}

Test(bitmap_file, what_is_no_file_is_refused, .timeout = 2)
{
    sh("mkdir map");
    expect_refused(EBADMSG);
    sh("rmdir map; mkfifo map");
    expect_refused(EBADMSG);
}
