// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/digest/digest.h"

#include "nbd/base/cleanup.h"
#include "nbd/digest/sha256-multibuffer.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#define LANES BM_SHA256_LANES
#define SHA256_LEN 32

/* The kernel takes as long for one block as for sixteen: about as long as
 * OpenSSL takes for eight. */
#define LANES_MIN 9
_Static_assert(BM_HASH_BATCH == LANES, "what callers are told to give");

#define ZERO_RUN 16384 /* bytes: digests of zeroes that are fed at once */

/* One fetched algorithm and one context, used again for every digest: 90 ns
 * where an implicit fetch each time costs 590 (docs/pitfalls.md P81). */
struct sum {
    const struct bm_digest *digest;
    EVP_MD *md;
    EVP_MD_CTX *ctx;
};

struct bm_hasher {
    struct sum sum;
    bool lanes;
    uint8_t zero_md[BM_DIGEST_MAX]; /* of a full block of zeroes */
};

struct bm_root {
    struct sum sum;
    bool filled;
    uint8_t zero_mds[ZERO_RUN]; /* the digest of zeroes, again and again */
};

/* Full blocks of data that wait for the kernel. */
struct batch {
    const void *blocks[LANES];
    size_t places[LANES]; /* which of the caller's */
    unsigned n;
};

/* A white list, since OpenSSL also takes names of functions whose output has
 * no length of its own. The default is first. */
static const struct bm_digest digests[] = {
    {"sha256", "SHA2-256", SHA256_LEN},
    {"sha512-256", "SHA2-512/256", 32},
    {"sha384", "SHA2-384", 48},
    {"sha512", "SHA2-512", 64},
    {"sha3-256", "SHA3-256", 32},
    {"blake2b512", "BLAKE2B-512", 64},
    {"blake2s256", "BLAKE2S-256", 32},
    {"sha1", "SHA1", 20},
    {"md5", "MD5", 16},
};
#define DIGESTS (sizeof digests / sizeof digests[0])

const struct bm_digest *const bm_digest_sha256 = &digests[0];

static const uint8_t zeroes[BM_DIGEST_BLOCK];

int bm_digest_find(const char *name, const struct bm_digest **out,
                   struct bm_error *err)
{
    char list[256] = "";

    for (size_t i = 0; i < DIGESTS; i++) {
        if (strcasecmp(name, digests[i].name) == 0) {
            *out = &digests[i];
            return 0;
        }
        strcat(strcat(list, i ? ", " : ""), digests[i].name);
    }
    bm_fail(err, EINVAL, "unknown digest '%s'", name);
    return bm_remedy(err, "use one of %s", list), -EINVAL;
}

bool bm_is_zero(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    size_t head = len < 16 ? len : 16;

    for (size_t i = 0; i < head; i++)
        if (bytes[i])
            return false;
    /* The first 16 are zero, so each byte equal to the one 16 before it
     * means that all are; memcmp does that at the speed of memory. */
    return len <= 16 || memcmp(bytes, bytes + 16, len - 16) == 0;
}

static void sum_clear(struct sum *sum)
{
    EVP_MD_CTX_free(sum->ctx);
    EVP_MD_free(sum->md);
}

static int sum_start(struct sum *sum, const struct bm_digest *digest,
                     struct bm_error *err)
{
    char why[256];

    sum->digest = digest;
    sum->md = EVP_MD_fetch(NULL, digest->evp, NULL);
    sum->ctx = EVP_MD_CTX_new();
    if (sum->md && sum->ctx && EVP_DigestInit_ex2(sum->ctx, sum->md, NULL) == 1)
        return 0;
    ERR_error_string_n(ERR_get_error(), why, sizeof why);
    bm_fail(err, EIO, "cannot compute %s", digest->name);
    return bm_cause(err, "%s", why), -EIO;
}

static int sum_once(struct sum *sum, const void *data, size_t len, uint8_t *md)
{
    if (EVP_DigestInit_ex2(sum->ctx, NULL, NULL) != 1 ||
        EVP_DigestUpdate(sum->ctx, data, len) != 1 ||
        EVP_DigestFinal_ex(sum->ctx, md, NULL) != 1)
        return -EIO;
    return 0;
}

struct bm_hasher *bm_hasher_new(const struct bm_digest *digest,
                                struct bm_error *err)
{
    struct bm_hasher *hasher = calloc(1, sizeof *hasher);

    if (!hasher) {
        bm_fail_errno(err, ENOMEM, "cannot compute %s", digest->name);
        return NULL;
    }
    if (sum_start(&hasher->sum, digest, err) == 0) {
        hasher->lanes =
            digest == bm_digest_sha256 && bm_sha256_lanes_available();
        if (sum_once(&hasher->sum, zeroes, sizeof zeroes, hasher->zero_md) == 0)
            return hasher;
        bm_fail(err, EIO, "cannot compute %s", digest->name);
    }
    bm_hasher_free(hasher);
    return NULL;
}

void bm_hasher_free(struct bm_hasher *hasher)
{
    if (!hasher)
        return;
    sum_clear(&hasher->sum);
    free(hasher);
}

const uint8_t *bm_hasher_zero(const struct bm_hasher *hasher)
{
    return hasher->zero_md;
}

static int hash_one_by_one(struct bm_hasher *hasher, const struct batch *batch,
                           uint8_t *mds)
{
    size_t len = hasher->sum.digest->len;

    for (unsigned i = 0; i < batch->n; i++)
        if (sum_once(&hasher->sum, batch->blocks[i], BM_DIGEST_BLOCK,
                     mds + batch->places[i] * len) != 0)
            return -EIO;
    return 0;
}

/* Lanes without a block of their own repeat the first one. */
static void hash_at_once(struct batch *batch, uint8_t *mds)
{
    uint8_t sums[LANES * SHA256_LEN];

    for (unsigned i = batch->n; i < LANES; i++)
        batch->blocks[i] = batch->blocks[0];
    bm_sha256_lanes(batch->blocks, BM_DIGEST_BLOCK, sums);
    for (unsigned i = 0; i < batch->n; i++)
        memcpy(mds + batch->places[i] * SHA256_LEN, sums + i * SHA256_LEN,
               SHA256_LEN);
}

static int hash_batch(struct bm_hasher *hasher, struct batch *batch,
                      uint8_t *mds)
{
    int rc = 0;

    if (hasher->lanes && batch->n >= LANES_MIN)
        hash_at_once(batch, mds);
    else
        rc = hash_one_by_one(hasher, batch, mds);
    batch->n = 0;
    return rc;
}

/* Full blocks of data are put into the batch, the others are done now. */
static int take_block(struct bm_hasher *hasher, struct batch *batch,
                      size_t place, const void *block, size_t len, bool zero,
                      uint8_t *mds)
{
    size_t md_len = hasher->sum.digest->len;
    uint8_t *md = mds + place * md_len;

    if (len != BM_DIGEST_BLOCK)
        return sum_once(&hasher->sum, zero ? zeroes : block, len, md);
    if (zero) {
        memcpy(md, hasher->zero_md, md_len);
        return 0;
    }
    batch->blocks[batch->n] = block;
    batch->places[batch->n++] = place;
    return batch->n == LANES ? hash_batch(hasher, batch, mds) : 0;
}

int bm_hasher_blocks(struct bm_hasher *hasher, size_t n,
                     const void *const blocks[], const size_t lens[],
                     uint8_t *mds, bool *zero)
{
    struct batch batch = {.n = 0};

    for (size_t i = 0; i < n; i++) {
        bool empty = !blocks[i] || bm_is_zero(blocks[i], lens[i]);
        int rc = take_block(hasher, &batch, i, blocks[i], lens[i], empty, mds);

        if (rc != 0)
            return rc;
        if (zero)
            zero[i] = empty;
    }
    return hash_batch(hasher, &batch, mds);
}

struct bm_root *bm_root_new(const struct bm_digest *digest,
                            struct bm_error *err)
{
    struct bm_root *root = calloc(1, sizeof *root);

    if (!root) {
        bm_fail_errno(err, ENOMEM, "cannot compute %s", digest->name);
        return NULL;
    }
    if (sum_start(&root->sum, digest, err) == 0)
        return root;
    bm_root_free(root);
    return NULL;
}

struct bm_root *bm_root_copy(const struct bm_root *root, struct bm_error *err)
{
    const struct bm_digest *digest = root->sum.digest;
    struct bm_root *copy = bm_root_new(digest, err);

    if (copy && EVP_MD_CTX_copy_ex(copy->sum.ctx, root->sum.ctx) != 1) {
        bm_fail(err, EIO, "cannot compute %s", digest->name);
        bm_root_free(BM_STEAL(copy));
    }
    return copy;
}

void bm_root_free(struct bm_root *root)
{
    if (!root)
        return;
    sum_clear(&root->sum);
    free(root);
}

int bm_root_add(struct bm_root *root, const uint8_t *mds, size_t n)
{
    size_t len = n * root->sum.digest->len;

    return EVP_DigestUpdate(root->sum.ctx, mds, len) == 1 ? 0 : -EIO;
}

/* Made when first needed, by a context of its own: the root's is in use. */
static int fill_zero_mds(struct bm_root *root)
{
    size_t len = root->sum.digest->len;

    if (root->filled)
        return 0;
    if (EVP_Digest(zeroes, sizeof zeroes, root->zero_mds, NULL, root->sum.md,
                   NULL) != 1)
        return -EIO;
    for (size_t at = len; at + len <= ZERO_RUN; at += len)
        memcpy(root->zero_mds + at, root->zero_mds, len);
    root->filled = true;
    return 0;
}

int bm_root_add_zero(struct bm_root *root, uint64_t n)
{
    const uint64_t most = ZERO_RUN / root->sum.digest->len;

    if (fill_zero_mds(root) != 0)
        return -EIO;
    while (n > 0) {
        uint64_t now = n < most ? n : most;

        if (bm_root_add(root, root->zero_mds, now) != 0)
            return -EIO;
        n -= now;
    }
    return 0;
}

int bm_root_final(struct bm_root *root, uint64_t length,
                  char hex[BM_DIGEST_HEX])
{
    uint8_t tail[8], md[BM_DIGEST_MAX];

    for (size_t i = 0; i < sizeof tail; i++)
        tail[i] = (uint8_t)(length >> (8 * i));
    if (EVP_DigestUpdate(root->sum.ctx, tail, sizeof tail) != 1 ||
        EVP_DigestFinal_ex(root->sum.ctx, md, NULL) != 1)
        return -EIO;
    for (size_t i = 0; i < root->sum.digest->len; i++)
        snprintf(hex + 2 * i, 3, "%02x", md[i]);
    return 0;
}
