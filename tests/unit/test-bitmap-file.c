// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Bitmaps as files: they come back as they were, or are refused. */
#include "tests/unit/bitmap-fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

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

/* --- full ones, and what is no map at all --- */

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
