// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The known answers are those of blksum and nbdcopy --blkhash. */
#include "nbd/digest.h"
#include "tests/unit/fixture.h"

#include <endian.h>

/* The digest of `length` bytes that fill() makes, block by block. */
static const char *digest(uint64_t length,
                          void (*fill)(uint8_t *block, uint64_t offset))
{
    static char hex[BM_DIGEST_HEX];
    static uint8_t block[BM_DIGEST_BLOCK];
    struct bm_error err = BM_ERROR_INIT;
    struct bm_hasher *hasher = bm_hasher_new(&err);
    struct bm_root *root = bm_root_new(&err);
    uint8_t md[BM_DIGEST_LEN];

    cr_assert(hasher && root);
    for (uint64_t offset = 0; offset < length; offset += sizeof block) {
        uint64_t left = length - offset;
        size_t len = left < sizeof block ? (size_t)left : sizeof block;

        memset(block, 0, sizeof block);
        fill(block, offset);
        cr_assert_eq(bm_hasher_block(hasher, block, len, md), 0);
        cr_assert_eq(bm_root_add(root, md, 1), 0);
    }
    cr_assert_eq(bm_root_final(root, length, hex), 0);
    bm_hasher_free(hasher);
    bm_root_free(root);
    return hex;
}

static void fill_hello(uint8_t *block, uint64_t offset)
{
    if (offset == 0)
        memcpy(block, "hello", 5);
    if (offset == 1048576)
        memcpy(block, "goodbye", 7);
}

static void fill_pattern(uint8_t *block, uint64_t offset)
{
    for (size_t i = 0; i < BM_DIGEST_BLOCK; i += 8) {
        uint64_t value = htobe64(offset + i);

        memcpy(block + i, &value, 8);
    }
}

static void fill_zero(uint8_t *block, uint64_t offset)
{
}

Test(digest, empty)
{
    cr_assert_str_eq(
        digest(0, fill_zero),
        "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
}

Test(digest, one_short_block)
{
    cr_assert_str_eq(
        digest(5, fill_hello),
        "337355feb53a5309d5aba92796223c2c84ffab930e706c01fef573a2722545e6");
}

Test(digest, a_hole_between_words)
{
    cr_assert_str_eq(
        digest(1048576 + 7, fill_hello),
        "61b8f3a8cea76e16eeff7ce27f1b7711c1f1e437f5038cec17773772a4bded28");
}

Test(digest, pattern_of_nbdkit)
{
    cr_assert_str_eq(
        digest(UINT64_C(1) << 30, fill_pattern),
        "6750a1c3d78e46eaffb0d094624825dea88f0c7098b2424fce776c0748442649");
}

/* sha256sum is the oracle of the precomputed block. */
Test(digest, zero_block_is_what_sha256sum_says)
{
    struct bm_hasher *hasher = bm_hasher_new(NULL);
    const size_t lens[] = {BM_DIGEST_BLOCK, 512};
    uint8_t md[BM_DIGEST_LEN];
    char hex[BM_DIGEST_HEX];

    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(bm_hasher_zero(hasher, lens[i], md), 0);
        for (size_t j = 0; j < sizeof md; j++)
            snprintf(hex + 2 * j, 3, "%02x", md[j]);
        cr_assert_str_eq(
            hex, fixture_word("head -c %zu /dev/zero | sha256sum", lens[i]));
    }
    bm_hasher_free(hasher);
}

Test(digest, copy_goes_its_own_way)
{
    static const uint8_t md[BM_DIGEST_LEN] = {1};
    struct bm_root *a = bm_root_new(NULL), *b, *c;
    char hex[3][BM_DIGEST_HEX];

    cr_assert_eq(bm_root_add(a, md, 1), 0);
    b = bm_root_copy(a, NULL);
    c = bm_root_copy(a, NULL);
    cr_assert_eq(bm_root_add(c, md, 1), 0);
    cr_assert_eq(bm_root_final(a, 1, hex[0]), 0);
    cr_assert_eq(bm_root_final(b, 1, hex[1]), 0);
    cr_assert_eq(bm_root_final(c, 1, hex[2]), 0);
    cr_expect_str_eq(hex[0], hex[1]);
    cr_expect_str_neq(hex[0], hex[2]);
    bm_root_free(a);
    bm_root_free(b);
    bm_root_free(c);
}

Test(digest, zero_test_sees_each_byte)
{
    uint8_t data[100] = {0};

    cr_assert(bm_is_zero(data, 0));
    cr_assert(bm_is_zero(data, sizeof data));
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = 1;
        cr_assert_not(bm_is_zero(data, sizeof data), "byte %zu", i);
        cr_assert(bm_is_zero(data, i));
        data[i] = 0;
    }
}
