// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The root digest of a manifest, and other digests than SHA-256. */
#include "tests/unit/manifest-fixture.h"

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
