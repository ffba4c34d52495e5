// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The entries of a manifest. */
#include "tests/unit/manifest-fixture.h"

#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#define TIB (UINT64_C(1) << 40)

/* KiB that the file takes on the disk. */
static long on_disk(const char *path)
{
    struct stat st;

    cr_assert_eq(stat(path, &st), 0);
    return (long)(st.st_blocks / 2);
}

Test(manifest, is_zero_at_first)
{
    MANIFEST *m = must_new("m", N * BLOCK);
    uint8_t md[32], zero[32];
    struct bm_hasher *hasher = bm_hasher_new(bm_digest_sha256, NULL);

    memcpy(zero, bm_hasher_zero(hasher), 32);
    for (uint64_t i = 0; i < N; i++) {
        cr_assert_eq(kind(m, i, md), BM_ENTRY_ZERO);
        cr_assert_eq(memcmp(md, zero, 32), 0);
    }
    cr_expect_eq(bm_manifest_blocks(m), N);
    cr_expect_eq(bm_manifest_length(m), N * BLOCK);
    cr_expect_str_eq(bm_manifest_hex(m), "");
    bm_hasher_free(hasher);
    bm_manifest_close(m);
}

Test(manifest, gives_back_what_was_set)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = must_new("m", N * BLOCK);
    uint8_t mds[N * 32], got[N * 32];
    enum bm_entry kinds[N];
    bool zero[N];

    for (uint64_t i = 0; i < N; i++) {
        make_md(mds + i * 32, i);
        zero[i] = i % 3 == 0 || (i > 100 && i < 280);
    }
    ok(bm_manifest_set(m, 0, N, mds, zero, &err), err);
    ok(bm_manifest_get(m, 0, N, got, kinds, &err), err);
    for (size_t i = 0; i < N; i++) {
        cr_assert_eq(kinds[i], zero[i] ? BM_ENTRY_ZERO : BM_ENTRY_DATA);
        cr_assert_eq(memcmp(got + i * 32, mds + i * 32, 32) == 0, !zero[i]);
    }
    bm_manifest_close(m);
}

Test(manifest, data_can_become_zero_again)
{
    MANIFEST *m = must_new("m", 100000 * BLOCK);
    uint8_t md[32];

    for (uint64_t i = 0; i < 20000; i++)
        must_set(m, i);
    cr_expect_gt(on_disk("m"), 600);
    must_zero(m, 1, 19998);
    cr_expect_lt(on_disk("m"), 100); /* punched */
    cr_expect_eq(kind(m, 0, md), BM_ENTRY_DATA);
    cr_expect_eq(kind(m, 1, md), BM_ENTRY_ZERO);
    cr_expect_eq(kind(m, 10000, md), BM_ENTRY_ZERO);
    cr_expect_eq(kind(m, 19998, md), BM_ENTRY_ZERO);
    cr_expect_eq(kind(m, 19999, md), BM_ENTRY_DATA);
    must_zero(m, 19999, 1);
    cr_expect_eq(kind(m, 19999, md), BM_ENTRY_ZERO);
    bm_manifest_close(m);
}

/* A digest of zeroes is a zero entry however it came. */
Test(manifest, knows_the_digest_of_zeroes)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_hasher *hasher = bm_hasher_new(bm_digest_sha256, NULL);
    MANIFEST *m = must_new("m", N * BLOCK);
    uint8_t md[32];

    ok(bm_manifest_set(m, 3, 1, bm_hasher_zero(hasher), NULL, &err), err);
    cr_expect_eq(kind(m, 3, md), BM_ENTRY_ZERO);
    bm_hasher_free(hasher);
    bm_manifest_close(m);
}

Test(manifest, unknown_is_told)
{
    MANIFEST *m = must_new("m", N * BLOCK);
    uint8_t md[32];

    must_forget(m, 5, 200);
    cr_expect_eq(kind(m, 4, md), BM_ENTRY_ZERO);
    for (uint64_t i = 5; i < 205; i++)
        cr_assert_eq(kind(m, i, md), BM_ENTRY_UNKNOWN);
    cr_expect_eq(kind(m, 205, md), BM_ENTRY_ZERO);
    finish(m);
    cr_expect(bm_manifest_partial(m));
    bm_manifest_close(m);
}

Test(manifest, refuses_blocks_beyond_the_end)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = must_new("m", 2 * BLOCK);
    uint8_t md[64];
    enum bm_entry kinds[2];

    cr_expect_eq(bm_manifest_set_zero(m, 1, 2, &err), -EINVAL);
    cr_expect_eq(bm_manifest_set_unknown(m, UINT64_MAX, 2, &err), -EINVAL);
    cr_expect_eq(bm_manifest_set(m, 2, 1, md, NULL, &err), -EINVAL);
    cr_expect_eq(bm_manifest_get(m, 1, 2, md, kinds, &err), -EINVAL);
    bm_manifest_close(m);
}

static void *set_each_fourth(void *opaque)
{
    struct {
        MANIFEST *m;
        uint64_t from;
    } *task = opaque;

    for (uint64_t i = task->from; i < 4000; i += 4)
        if (i % 3)
            must_set(task->m, i);
        else
            must_zero(task->m, i, 1);
    return NULL;
}

Test(manifest, threads_set_different_blocks)
{
    MANIFEST *m = must_new("m", 4000 * BLOCK);
    struct {
        MANIFEST *m;
        uint64_t from;
    } tasks[4];
    pthread_t threads[4];
    uint8_t md[32], wanted[32];

    for (uint64_t i = 0; i < 4; i++) {
        tasks[i].m = m;
        tasks[i].from = i;
        cr_assert_eq(
            pthread_create(&threads[i], NULL, set_each_fourth, &tasks[i]), 0);
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (uint64_t i = 0; i < 4000; i++) {
        make_md(wanted, i);
        cr_assert_eq(kind(m, i, md), i % 3 ? BM_ENTRY_DATA : BM_ENTRY_ZERO);
        cr_assert(i % 3 == 0 || memcmp(md, wanted, 32) == 0);
    }
    bm_manifest_close(m);
}

/* --- large and sparse --- */

Test(manifest, a_tib_of_zeroes_costs_nothing)
{
    struct bm_error err = BM_ERROR_INIT;
    clock_t start = clock(); /* others may be at work too */
    MANIFEST *m = must_new("m", TIB), *n;

    must_zero(m, 0, TIB / BLOCK);
    finish(m);
    n = must_open("m");
    cr_expect_lt(clock() - start, 4 * CLOCKS_PER_SEC);
    start = clock();
    ok(bm_manifest_diff(m, n, NULL, NULL, &err), err);
    cr_expect_lt(clock() - start, CLOCKS_PER_SEC / 10);
    cr_expect_leq(on_disk("m"), 16);
    bm_manifest_close(m);
    bm_manifest_close(n);
}

Test(manifest, holes_stay_holes)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = must_new("m", TIB / 16);
    static uint8_t mds[4096 * 32];
    static bool zero[4096];

    memset(zero, true, sizeof zero);
    for (uint64_t i = 0; i < 4096 * 32; i += 4096)
        ok(bm_manifest_set(m, i, 4096, mds, zero, &err), err);
    must_set(m, 500000);
    finish(m);
    cr_expect_leq(on_disk("m"), 16);
    ok(bm_manifest_save(m, "saved", &err), err);
    cr_expect_leq(on_disk("saved"), 16);
    bm_manifest_close(m);
    bm_manifest_close(must_open("saved"));
}
