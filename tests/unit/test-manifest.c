// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/manifest.h"
#include "tests/unit/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

TestSuite(manifest, .init = fixture_setup, .fini = fixture_teardown);

#define BLOCK ((uint64_t)BM_DIGEST_BLOCK)
#define TIB (UINT64_C(1) << 40)
#define N 300 /* blocks of a small image: more than one page of entries */

typedef struct bm_manifest MANIFEST;

static MANIFEST *must_new(const char *path, uint64_t length)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = NULL;

    ok(bm_manifest_new(path, fixture_dir, bm_digest_sha256, length, &m, &err),
       err);
    return m;
}

static MANIFEST *must_open(const char *path)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = NULL;

    ok(bm_manifest_open(path, &m, &err), err);
    return m;
}

/* An md that stands for block i. */
static void make_md(uint8_t md[32], uint64_t i)
{
    for (size_t j = 0; j < 32; j++)
        md[j] = (uint8_t)(i * 7 + j * 13 + 1);
}

static void must_set(MANIFEST *m, uint64_t block)
{
    struct bm_error err = BM_ERROR_INIT;
    uint8_t md[32];

    make_md(md, block);
    ok(bm_manifest_set(m, block, 1, md, NULL, &err), err);
}

static void must_zero(MANIFEST *m, uint64_t first, uint64_t n)
{
    struct bm_error err = BM_ERROR_INIT;

    ok(bm_manifest_set_zero(m, first, n, &err), err);
}

static void must_forget(MANIFEST *m, uint64_t first, uint64_t n)
{
    struct bm_error err = BM_ERROR_INIT;

    ok(bm_manifest_set_unknown(m, first, n, &err), err);
}

static const char *finish(MANIFEST *m)
{
    static char hex[BM_DIGEST_HEX];
    struct bm_error err = BM_ERROR_INIT;
    bool partial;

    ok(bm_manifest_finish(m, hex, &partial, &err), err);
    cr_expect_eq(partial, bm_manifest_partial(m));
    return hex;
}

static enum bm_entry kind(const MANIFEST *m, uint64_t block, uint8_t md[32])
{
    struct bm_error err = BM_ERROR_INIT;
    enum bm_entry kind_;

    ok(bm_manifest_get(m, block, 1, md, &kind_, &err), err);
    return kind_;
}

/* KiB that the file takes on the disk. */
static long on_disk(const char *path)
{
    struct stat st;

    cr_assert_eq(stat(path, &st), 0);
    return (long)(st.st_blocks / 2);
}

/* The small image of most tests: blocks of data at some places, one unknown,
 * finished. */
static void make_small(const char *path)
{
    MANIFEST *m = must_new(path, N * BLOCK);

    must_set(m, 0);
    must_set(m, 130);
    must_set(m, N - 1);
    must_forget(m, 7, 1);
    finish(m);
    bm_manifest_close(m);
}

/* --- entries --- */

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

/* --- roots --- */

/* The root of an image whose data is `length` bytes of seq(1)'s output, by
 * hand; holes is where nothing is set. */
static const char *hashed(uint64_t length, bool through_manifest)
{
    static char hex[BM_DIGEST_HEX];
    struct bm_error err = BM_ERROR_INIT;
    struct bm_hasher *hasher = bm_hasher_new(bm_digest_sha256, NULL);
    struct bm_root *root = bm_root_new(bm_digest_sha256, NULL);
    MANIFEST *m = must_new("m", length);
    char *block = calloc(1, BLOCK);
    bool partial, zero;
    uint8_t md[32];

    for (uint64_t i = 0; i * BLOCK < length; i++) {
        size_t len = length - i * BLOCK < BLOCK ? (size_t)(length - i * BLOCK)
                                                : (size_t)BLOCK;

        block[0] = i % 5 == 0 || i / 100 == 1 ? 0 : (char)i;
        cr_assert_eq(bm_hasher_blocks(hasher, 1, (const void *[]){block},
                                      (size_t[]){len}, md, &zero),
                     0);
        cr_assert_eq(bm_root_add(root, md, 1), 0);
        ok(bm_manifest_set(m, i, 1, md, &zero, &err), err);
    }
    if (through_manifest)
        ok(bm_manifest_root(m, hex, &partial, &err), err);
    else
        cr_assert_eq(bm_root_final(root, length, hex), 0);
    free(block);
    bm_hasher_free(hasher);
    bm_root_free(root);
    bm_manifest_close(m);
    return hex;
}

Test(manifest, root_is_that_of_the_digests)
{
    const uint64_t lengths[] = {0,
                                1,
                                BLOCK - 1,
                                BLOCK,
                                BLOCK + 1,
                                5 * BLOCK,
                                5 * BLOCK + 512,
                                400 * BLOCK,
                                10 * BLOCK,
                                2 * BLOCK - 1,
                                10000 * BLOCK + 99};
    char wanted[BM_DIGEST_HEX];

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        strcpy(wanted, hashed(lengths[i], false));
        cr_expect_str_eq(hashed(lengths[i], true), wanted, "%lu", lengths[i]);
    }
}

/* Known answers of blksum for images of nothing but zeroes. */
Test(manifest, zero_images_have_the_known_root)
{
    MANIFEST *m = must_new("m", 0);

    cr_expect_str_eq(
        finish(m),
        "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
    bm_manifest_close(m);
    bm_manifest_close(must_open("m"));
}

/* The last, short block of an image is not a full block of zeroes. */
Test(manifest, ragged_zero_block_has_its_own_digest)
{
    struct bm_error err = BM_ERROR_INIT;
    char wanted[BM_DIGEST_HEX], hex[BM_DIGEST_HEX];
    struct bm_root *root = bm_root_new(bm_digest_sha256, NULL);
    struct bm_hasher *hasher = bm_hasher_new(bm_digest_sha256, NULL);
    MANIFEST *m = must_new("m", 2 * BLOCK + 512);
    uint8_t md[32];
    bool partial;

    cr_assert_eq(bm_hasher_blocks(hasher, 1, (const void *[]){NULL},
                                  (size_t[]){512}, md, NULL),
                 0);
    cr_assert_eq(bm_root_add_zero(root, 2), 0);
    cr_assert_eq(bm_root_add(root, md, 1), 0);
    cr_assert_eq(bm_root_final(root, 2 * BLOCK + 512, wanted), 0);
    ok(bm_manifest_root(m, hex, &partial, &err), err);
    cr_expect_str_eq(hex, wanted);
    must_set(m, 2);
    must_zero(m, 0, 3);
    ok(bm_manifest_root(m, hex, &partial, &err), err);
    cr_expect_str_eq(hex, wanted);
    ok(bm_manifest_set(m, 2, 1, md, (bool[]){true}, &err), err);
    cr_expect_str_eq(finish(m), wanted);
    bm_root_free(root);
    bm_hasher_free(hasher);
    bm_manifest_close(m);
}

Test(manifest, takes_any_digest)
{
    static const char *const names[] = {"md5", "sha1", "sha384", "sha512"};
    struct bm_error err = BM_ERROR_INIT;

    for (size_t i = 0; i < 4; i++) {
        const struct bm_digest *digest;
        uint8_t md[64] = {1, 2, 3}, got[64];
        enum bm_entry kinds;
        MANIFEST *m;

        ok(bm_digest_find(names[i], &digest, &err), err);
        ok(bm_manifest_new("m", NULL, digest, N * BLOCK + 5, &m, &err), err);
        for (uint64_t b = 0; b <= N; b += 2)
            ok(bm_manifest_set(m, b, 1, md, NULL, &err), err);
        finish(m);
        bm_manifest_close(m);
        m = must_open("m");
        ok(bm_manifest_get(m, 200, 1, got, &kinds, &err), err);
        cr_expect_eq(memcmp(got, md, digest->len), 0);
        cr_expect_eq(bm_manifest_digest(m), digest);
        bm_manifest_close(m);
    }
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

/* --- files --- */

Test(manifest, opens_what_was_finished)
{
    MANIFEST *m;
    uint8_t md[32], wanted[32];

    make_small("m");
    m = must_open("m");
    make_md(wanted, 130);
    cr_expect_eq(kind(m, 130, md), BM_ENTRY_DATA);
    cr_expect_eq(memcmp(md, wanted, 32), 0);
    cr_expect_eq(kind(m, 7, md), BM_ENTRY_UNKNOWN);
    cr_expect_eq(kind(m, 8, md), BM_ENTRY_ZERO);
    cr_expect(bm_manifest_partial(m) && strlen(bm_manifest_hex(m)) == 64);
    cr_expect_eq(bm_manifest_digest(m), bm_digest_sha256);
    bm_manifest_close(m);
}

Test(manifest, header_is_as_the_contract_says)
{
    make_small("m");
    cr_expect_str_eq(fixture_word("head -c 8 m"), "BMDIGEST");
    cr_expect_str_eq(fixture_word("od -An -tu4 -j8 -N4 m"), "1");
    cr_expect_str_eq(fixture_word("od -An -tu4 -j12 -N4 m"), "1");
    cr_expect_str_eq(fixture_word("od -An -tu8 -j16 -N8 m"), "19660800");
    cr_expect_str_eq(fixture_word("od -An -tu4 -j24 -N4 m"), "65536");
    cr_expect_str_eq(fixture_word("od -An -tu4 -j28 -N4 m"), "1");
    cr_expect_str_eq(fixture_word("tail -c +33 m | head -c 6"), "sha256");
    sh("test $(head -c 4064 m | sha256sum | cut -c-64) = "
       "$(tail -c +4065 m | head -c 32 | xxd -p -c 64)");
    sh("test $(stat -c %%a/%%s m) = 600/%d", 4096 + N * 32);
}

Test(manifest, a_finished_one_cannot_be_changed)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = must_new("m", N * BLOCK);
    char hex[BM_DIGEST_HEX];
    bool partial;

    finish(m);
    cr_expect_eq(bm_manifest_set_zero(m, 0, 1, &err), -EROFS);
    cr_expect_eq(bm_manifest_finish(m, hex, &partial, &err), -EROFS);
    bm_manifest_close(m);
}

static void refused(const char *why)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = NULL;

    cr_expect_eq(bm_manifest_open("m", &m, &err), -EBADMSG, "%s", why);
    cr_expect(strstr(err.cause, why), "\"%s\" instead of \"%s\"", err.cause,
              why);
    cr_expect_null(m);
}

/* Adds one to the byte. */
static void damage(off_t at_)
{
    int fd = open("m", O_RDWR);
    uint8_t byte;

    cr_assert(pread(fd, &byte, 1, at_) == 1);
    byte++;
    cr_assert(pwrite(fd, &byte, 1, at_) == 1);
    close(fd);
}

Test(manifest, refuses_a_damaged_header)
{
    static const off_t places[] = {8,  12,  16,   24,   28,   32,  40,
                                   64, 100, 3000, 4063, 4064, 4095};

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        make_small("m");
        damage(places[i]);
        refused("its header is damaged");
    }
}

Test(manifest, refuses_damaged_entries)
{
    static const off_t entries[] = {0, 7, 8, 130, 131, N - 1};

    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        for (off_t byte = 0; byte < 32; byte += 31) {
            make_small("m");
            damage(4096 + entries[i] * 32 + byte);
            refused("its entries are damaged");
        }
}

Test(manifest, refuses_one_that_is_cut_off_or_too_long)
{
    make_small("m");
    sh("truncate -s -1 m");
    refused("it is cut off");
    make_small("m");
    sh("truncate -s 4096 m");
    refused("it is cut off");
    sh("truncate -s 100 m");
    refused("it is cut off");
    make_small("m");
    sh("echo >>m");
    refused("something follows its end");
}

Test(manifest, refuses_what_is_none)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m;

    sh("head -c 100000 /dev/urandom >m");
    refused("it is no manifest");
    sh(">m");
    refused("it is cut off");
    sh("rm m && mkfifo m");
    refused("it is no regular file");
    cr_expect_eq(bm_manifest_open("none", &m, &err), -ENOENT);
}

Test(manifest, refuses_one_in_the_making)
{
    bm_manifest_close(must_new("m", N * BLOCK));
    refused("it was never finished");
}

/* --- taking up again --- */

Test(manifest, goes_on_in_the_making)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = must_new("m", N * BLOCK + 7);
    uint8_t md[32];

    must_set(m, 3);
    ok(bm_manifest_sync(m, &err), err);
    bm_manifest_close(m);
    ok(bm_manifest_reopen("m", bm_digest_sha256, N * BLOCK + 7, &m, &err), err);
    cr_expect_eq(kind(m, 3, md), BM_ENTRY_DATA);
    must_set(m, 4);
    finish(m);
    bm_manifest_close(m);
    bm_manifest_close(must_open("m"));
}

Test(manifest, does_not_go_on_with_another)
{
    struct bm_error err = BM_ERROR_INIT;
    const struct bm_digest *sha512;
    MANIFEST *m;

    ok(bm_digest_find("SHA512", &sha512, &err), err);
    bm_manifest_close(must_new("m", N * BLOCK));
    cr_expect_eq(
        bm_manifest_reopen("m", bm_digest_sha256, N * BLOCK + 1, &m, &err),
        -ESTALE);
    cr_expect_eq(bm_manifest_reopen("m", sha512, N * BLOCK, &m, &err), -ESTALE);
    damage(4000);
    cr_expect_eq(bm_manifest_reopen("m", bm_digest_sha256, N * BLOCK, &m, &err),
                 -EBADMSG);
    make_small("m");
    cr_expect_eq(bm_manifest_reopen("m", bm_digest_sha256, N * BLOCK, &m, &err),
                 -EBADMSG);
}

/* --- spools and copies --- */

Test(manifest, spool_has_no_name)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = must_new(NULL, N * BLOCK), *saved;
    char hex[BM_DIGEST_HEX];

    must_set(m, 9);
    strcpy(hex, finish(m));
    cr_expect_str_eq(fixture_word("ls -A | wc -l"), "0");
    ok(bm_manifest_save(m, "m", &err), err);
    saved = must_open("m");
    cr_expect_str_eq(bm_manifest_hex(saved), hex);
    bm_manifest_close(saved);
    bm_manifest_close(m);
    cr_expect_str_eq(fixture_word("ls -A | wc -l"), "1");
}

Test(manifest, save_wants_a_finished_one)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = must_new(NULL, N * BLOCK);

    cr_expect_eq(bm_manifest_save(m, "m", &err), -EINVAL);
    finish(m);
    cr_expect_eq(bm_manifest_save(m, "none/m", &err), -ENOENT);
    bm_manifest_close(m);
}

Test(manifest, copy_is_in_the_making)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m, *copy;
    char hex[BM_DIGEST_HEX];
    uint8_t md[32];

    make_small("m");
    m = must_open("m");
    ok(bm_manifest_copy(m, &copy, &err), err);
    cr_expect_str_eq(bm_manifest_hex(copy), "");
    strcpy(hex, finish(copy));
    cr_expect_str_eq(hex, bm_manifest_hex(m));
    bm_manifest_close(copy);
    ok(bm_manifest_copy(m, &copy, &err), err);
    must_set(copy, 131);
    cr_expect_eq(kind(m, 131, md), BM_ENTRY_ZERO);
    bm_manifest_close(copy);
    bm_manifest_close(m);
}

/* --- differences --- */

static char told_text[4096];

static void told(void *opaque, uint64_t offset, uint64_t length)
{
    size_t n = strlen(told_text);

    snprintf(told_text + n, sizeof told_text - n, "%llu+%llu ",
             (unsigned long long)offset, (unsigned long long)length);
}

/* What differs, in bytes. */
static const char *diff(const MANIFEST *a, const MANIFEST *b)
{
    struct bm_error err = BM_ERROR_INIT;
    char first[sizeof told_text];

    told_text[0] = '\0';
    ok(bm_manifest_diff(b, a, told, NULL, &err), err);
    strcpy(first, told_text);
    told_text[0] = '\0';
    ok(bm_manifest_diff(a, b, told, NULL, &err), err);
    cr_assert_str_eq(first, told_text);
    return told_text;
}

Test(manifest, equal_ones_do_not_differ)
{
    MANIFEST *a = must_new(NULL, N * BLOCK), *b = must_new(NULL, N * BLOCK);

    must_set(a, 1);
    must_set(b, 1);
    must_set(b, 2);
    must_zero(b, 2, 1);
    cr_expect_str_eq(diff(a, b), "");
    bm_manifest_close(a);
    bm_manifest_close(b);
}

Test(manifest, differences_are_merged)
{
    MANIFEST *a = must_new(NULL, N * BLOCK + 9);
    MANIFEST *b = must_new(NULL, N * BLOCK + 9);

    must_set(a, 1);
    must_set(b, 2);
    must_set(a, 3);
    must_set(a, 5);
    must_set(b, N);
    cr_expect_str_eq(diff(a, b), "65536+196608 327680+65536 19660800+9 ");
    bm_manifest_close(a);
    bm_manifest_close(b);
}

Test(manifest, unknown_differs_from_everything)
{
    MANIFEST *a = must_new(NULL, 5 * BLOCK), *b = must_new(NULL, 5 * BLOCK);

    must_forget(a, 0, 1); /* from zero */
    must_forget(a, 2, 1); /* from unknown */
    must_forget(b, 2, 1);
    must_forget(b, 4, 1); /* from data */
    must_set(a, 4);
    cr_expect_str_eq(diff(a, b), "0+65536 131072+65536 262144+65536 ");
    bm_manifest_close(a);
    bm_manifest_close(b);
}

Test(manifest, the_tail_of_the_longer_differs)
{
    const struct {
        uint64_t a, b;
        const char *told;
    } cases[] = {
        {0, 3 * BLOCK, "0+196608 "},
        {2 * BLOCK, 3 * BLOCK + 1, "131072+65537 "},
        {2 * BLOCK + 5, 2 * BLOCK + 6, "131072+6 "},
        {2 * BLOCK + 5, 3 * BLOCK, "131072+65536 "},
        {0, 0, ""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        MANIFEST *a = must_new(NULL, cases[i].a);
        MANIFEST *b = must_new(NULL, cases[i].b);

        cr_expect_str_eq(diff(a, b), cases[i].told);
        bm_manifest_close(a);
        bm_manifest_close(b);
    }
}

Test(manifest, different_digests_cannot_be_compared)
{
    struct bm_error err = BM_ERROR_INIT;
    const struct bm_digest *sha512;
    MANIFEST *a = must_new(NULL, BLOCK), *b;

    ok(bm_digest_find("sha512", &sha512, &err), err);
    ok(bm_manifest_new(NULL, fixture_dir, sha512, BLOCK, &b, &err), err);
    cr_expect_eq(bm_manifest_diff(a, b, told, NULL, &err), -EINVAL);
    bm_manifest_close(a);
    bm_manifest_close(b);
}
