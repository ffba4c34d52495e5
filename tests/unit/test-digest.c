// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The known answers are those of blksum and nbdcopy --blkhash; else OpenSSL
 * itself is the oracle. */
#include "nbd/digest/digest.h"
#include "nbd/digest/sha256-multibuffer.h"
#include "tests/unit/fixture.h"

#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>

#define BATCH BM_HASH_BATCH
#define BLOCKS_MAX 40

/* The digest of `length` bytes that fill() makes, a batch of blocks at once. */
static const char *digest(uint64_t length,
                          void (*fill)(uint8_t *block, uint64_t offset))
{
    static char hex[BM_DIGEST_HEX];
    static uint8_t blocks[BATCH][BM_DIGEST_BLOCK], mds[BATCH * BM_DIGEST_MAX];
    struct bm_error err = BM_ERROR_INIT;
    struct bm_hasher *hasher = bm_hasher_new(bm_digest_sha256, &err);
    struct bm_root *root = bm_root_new(bm_digest_sha256, &err);
    const void *data[BATCH];
    size_t lens[BATCH], n;

    cr_assert(hasher && root);
    for (uint64_t offset = 0; offset < length;) {
        for (n = 0; n < BATCH && offset < length; offset += lens[n++]) {
            uint64_t left = length - offset;

            data[n] = memset(blocks[n], 0, BM_DIGEST_BLOCK);
            fill(blocks[n], offset);
            lens[n] = left < BM_DIGEST_BLOCK ? (size_t)left : BM_DIGEST_BLOCK;
        }
        cr_assert_eq(bm_hasher_blocks(hasher, n, data, lens, mds, NULL), 0);
        cr_assert_eq(bm_root_add(root, mds, n), 0);
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

/* The whole hole at once, and what is fed before it stays. */
static const char *hole(const struct bm_digest *d, uint64_t n, bool at_once)
{
    static char hex[2][BM_DIGEST_HEX];
    struct bm_hasher *hasher = bm_hasher_new(d, NULL);
    struct bm_root *root = bm_root_new(d, NULL);
    const uint8_t *zero = bm_hasher_zero(hasher);
    uint8_t first[BM_DIGEST_MAX] = {1};

    cr_assert_eq(bm_root_add(root, first, 1), 0);
    if (at_once)
        cr_assert_eq(bm_root_add_zero(root, n), 0);
    for (uint64_t i = 0; !at_once && i < n; i++)
        cr_assert_eq(bm_root_add(root, zero, 1), 0);
    cr_assert_eq(bm_root_add_zero(root, 3), 0);
    cr_assert_eq(bm_root_final(root, n, hex[at_once]), 0);
    bm_hasher_free(hasher);
    bm_root_free(root);
    return hex[at_once];
}

static const char *const names[] = {
    "sha256",     "sha512-256", "sha384", "sha512", "sha3-256",
    "blake2b512", "blake2s256", "sha1",   "md5",
};
#define NAMES (sizeof names / sizeof names[0])

static const struct bm_digest *named(const char *name)
{
    const struct bm_digest *d = NULL;

    cr_assert_eq(bm_digest_find(name, &d, NULL), 0, "%s", name);
    return d;
}

Test(digest, a_hole_is_as_many_blocks_of_zeroes)
{
    const uint64_t counts[] = {0, 1, 511, 512, 513, 5000};

    for (size_t i = 0; i < NAMES; i++)
        for (size_t j = 0; j < sizeof counts / sizeof counts[0]; j++)
            cr_expect_str_eq(hole(named(names[i]), counts[j], true),
                             hole(named(names[i]), counts[j], false),
                             "%s, %d blocks", names[i], (int)counts[j]);
}

/* `openssl dgst` is the oracle of names and lengths. */
Test(digest, each_is_what_openssl_calls_so)
{
    static uint8_t block[BM_DIGEST_BLOCK];
    const void *data = memset(block, 'x', sizeof block);
    size_t len = sizeof block;

    for (size_t i = 0; i < NAMES; i++) {
        const struct bm_digest *d = named(names[i]);
        struct bm_hasher *hasher = bm_hasher_new(d, NULL);
        uint8_t md[BM_DIGEST_MAX];
        char hex[BM_DIGEST_HEX] = "";

        cr_assert_not_null(hasher, "%s", names[i]);
        cr_assert_eq(bm_hasher_blocks(hasher, 1, &data, &len, md, NULL), 0);
        for (size_t j = 0; j < d->len; j++)
            snprintf(hex + 2 * j, 3, "%02x", md[j]);
        cr_expect_str_eq(hex, fixture_word("head -c 65536 /dev/zero | "
                                           "tr '\\0' x | "
                                           "openssl dgst -r -%s",
                                           names[i]));
        bm_hasher_free(hasher);
    }
}

Test(digest, names_are_read_in_any_case)
{
    cr_expect_eq(named("SHA256"), bm_digest_sha256);
    cr_expect_str_eq(named("Blake2b512")->name, "blake2b512");
}

Test(digest, an_unknown_name_is_told_the_list)
{
    const struct bm_digest *d = bm_digest_sha256;
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(bm_digest_find("shake128", &d, &err), -EINVAL);
    cr_expect_eq(d, bm_digest_sha256);
    for (size_t i = 0; i < NAMES; i++)
        cr_expect_not_null(strstr(err.remedy, names[i]), "%s", err.remedy);
}

/* What a call gets, and which of it is zero. */
struct blocks {
    size_t n, lens[BLOCKS_MAX];
    const void *data[BLOCKS_MAX];
    bool zero[BLOCKS_MAX];
    uint8_t bytes[BLOCKS_MAX][BM_DIGEST_BLOCK];
};

static void noise(uint8_t *bytes, size_t len, unsigned *seed)
{
    uint64_t x = 88172645463325252u + (unsigned)rand_r(seed);

    for (size_t i = 0; i < len; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        bytes[i] = (uint8_t)(x >> 32 | (i == 0));
    }
}

static void make_blocks(struct blocks *b, unsigned *seed)
{
    b->n = 1 + (unsigned)rand_r(seed) % BLOCKS_MAX;
    for (size_t i = 0; i < b->n; i++) {
        int sort = rand_r(seed) % 10;

        b->data[i] = b->bytes[i];
        b->lens[i] = BM_DIGEST_BLOCK;
        if (rand_r(seed) % 12 == 0)
            b->lens[i] = 1 + (unsigned)rand_r(seed) % BM_DIGEST_BLOCK;
        b->zero[i] = sort < 2;
        memset(b->bytes[i], 0, BM_DIGEST_BLOCK);
        if (sort == 0)
            b->data[i] = NULL;
        else if (sort == 2) /* the last byte alone */
            b->bytes[i][b->lens[i] - 1] = 1;
        else if (sort > 2)
            noise(b->bytes[i], b->lens[i], seed);
    }
}

static void check_blocks(struct bm_hasher *hasher, const struct bm_digest *d,
                         const struct blocks *b)
{
    uint8_t mds[BLOCKS_MAX * BM_DIGEST_MAX + 1], md[BM_DIGEST_MAX];
    bool zero[BLOCKS_MAX];

    memset(mds, 0xaa, sizeof mds);
    cr_assert_eq(bm_hasher_blocks(hasher, b->n, b->data, b->lens, mds, zero),
                 0);
    for (size_t i = 0; i < b->n; i++) {
        cr_assert(EVP_Q_digest(NULL, d->evp, NULL, b->bytes[i], b->lens[i], md,
                               NULL));
        cr_assert_arr_eq(mds + i * d->len, md, d->len, "%s: block %zu of %zu",
                         d->name, i, b->n);
        cr_assert_eq(zero[i], b->zero[i], "block %zu of %zu", i, b->n);
    }
    cr_assert_eq(mds[b->n * d->len], 0xaa);
}

Test(digest, blocks_of_all_sorts_are_as_openssl_says)
{
    static struct blocks b;

    for (size_t i = 0; i < NAMES; i++) {
        const struct bm_digest *d = named(names[i]);
        struct bm_hasher *hasher = bm_hasher_new(d, NULL);
        unsigned seed = 1;

        for (int round = 0; round < (d == bm_digest_sha256 ? 60 : 3); round++) {
            make_blocks(&b, &seed);
            check_blocks(hasher, d, &b);
        }
        bm_hasher_free(hasher);
    }
}

/* Each number of full blocks, for each way to hash what is left over. */
Test(digest, each_number_of_full_blocks)
{
    static struct blocks b;
    struct bm_hasher *hasher = bm_hasher_new(bm_digest_sha256, NULL);
    unsigned seed = 2;

    for (size_t i = 0; i < BLOCKS_MAX; i++) {
        noise(b.bytes[i], BM_DIGEST_BLOCK, &seed);
        b.data[i] = b.bytes[i];
        b.lens[i] = BM_DIGEST_BLOCK;
    }
    for (b.n = 0; b.n <= BLOCKS_MAX; b.n++)
        check_blocks(hasher, bm_digest_sha256, &b);
    bm_hasher_free(hasher);
}

/* Of any length and at any address. */
Test(digest, sixteen_lanes_are_sixteen_times_sha256)
{
    static uint8_t bytes[BATCH * BM_DIGEST_BLOCK + 64];
    uint8_t mds[BATCH * 32], md[32];
    const void *data[BATCH];
    unsigned seed = 3;

    if (!bm_sha256_lanes_available())
        cr_skip_test("this CPU has no AVX-512");
    noise(bytes, sizeof bytes, &seed);
    for (int round = 0; round < 100; round++) {
        size_t len = (unsigned)rand_r(&seed) % (round < 50 ? 8 : 1025) * 64;

        for (size_t i = 0; i < BATCH; i++)
            data[i] = bytes + (unsigned)rand_r(&seed) % (sizeof bytes - len);
        bm_sha256_lanes(data, len, mds);
        for (size_t i = 0; i < BATCH; i++) {
            EVP_Q_digest(NULL, "SHA256", NULL, data[i], len, md, NULL);
            cr_assert_arr_eq(mds + 32 * i, md, 32, "lane %zu, %zu bytes", i,
                             len);
        }
    }
}

Test(digest, copy_goes_its_own_way)
{
    static const uint8_t md[32] = {1};
    struct bm_root *a = bm_root_new(bm_digest_sha256, NULL), *b, *c;
    char hex[3][BM_DIGEST_HEX];

    cr_assert_eq(bm_root_add(a, md, 1), 0);
    cr_assert_eq(bm_root_add_zero(a, 1), 0);
    b = bm_root_copy(a, NULL);
    c = bm_root_copy(a, NULL);
    cr_assert_eq(bm_root_add_zero(a, 1), 0);
    cr_assert_eq(bm_root_add_zero(b, 1), 0);
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
