// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/digest.h"

#include "nbd/cleanup.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

/* One fetched algorithm and one context, used again for every digest: 90 ns
 * where an implicit fetch each time costs 590 (performance.md D). */
struct sha {
    EVP_MD *md;
    EVP_MD_CTX *ctx;
};

struct bm_hasher {
    struct sha sha;
    uint8_t zero_md[BM_DIGEST_LEN]; /* of a full block of zeroes */
};

struct bm_root {
    struct sha sha;
};

static const uint8_t zeroes[BM_DIGEST_BLOCK];

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

static void sha_clear(struct sha *sha)
{
    EVP_MD_CTX_free(sha->ctx);
    EVP_MD_free(sha->md);
}

static int sha_start(struct sha *sha, struct bm_error *err)
{
    char why[256];

    sha->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha->ctx = EVP_MD_CTX_new();
    if (sha->md && sha->ctx && EVP_DigestInit_ex2(sha->ctx, sha->md, NULL) == 1)
        return 0;
    ERR_error_string_n(ERR_get_error(), why, sizeof why);
    bm_fail(err, EIO, "cannot compute SHA-256");
    return bm_cause(err, "%s", why), -EIO;
}

static int sha_once(struct sha *sha, const void *data, size_t len, uint8_t *md)
{
    if (EVP_DigestInit_ex2(sha->ctx, NULL, NULL) != 1 ||
        EVP_DigestUpdate(sha->ctx, data, len) != 1 ||
        EVP_DigestFinal_ex(sha->ctx, md, NULL) != 1)
        return -EIO;
    return 0;
}

struct bm_hasher *bm_hasher_new(struct bm_error *err)
{
    struct bm_hasher *hasher = calloc(1, sizeof *hasher);

    if (!hasher) {
        bm_fail_errno(err, ENOMEM, "cannot compute SHA-256");
        return NULL;
    }
    if (sha_start(&hasher->sha, err) == 0) {
        if (sha_once(&hasher->sha, zeroes, sizeof zeroes, hasher->zero_md) == 0)
            return hasher;
        bm_fail(err, EIO, "cannot compute SHA-256");
    }
    bm_hasher_free(hasher);
    return NULL;
}

void bm_hasher_free(struct bm_hasher *hasher)
{
    if (!hasher)
        return;
    sha_clear(&hasher->sha);
    free(hasher);
}

int bm_hasher_zero(struct bm_hasher *hasher, size_t len,
                   uint8_t md[BM_DIGEST_LEN])
{
    if (len != BM_DIGEST_BLOCK)
        return sha_once(&hasher->sha, zeroes, len, md);
    memcpy(md, hasher->zero_md, BM_DIGEST_LEN);
    return 0;
}

int bm_hasher_block(struct bm_hasher *hasher, const void *data, size_t len,
                    uint8_t md[BM_DIGEST_LEN])
{
    if (len == BM_DIGEST_BLOCK && bm_is_zero(data, len))
        return bm_hasher_zero(hasher, len, md);
    return sha_once(&hasher->sha, data, len, md);
}

struct bm_root *bm_root_new(struct bm_error *err)
{
    struct bm_root *root = calloc(1, sizeof *root);

    if (!root) {
        bm_fail_errno(err, ENOMEM, "cannot compute SHA-256");
        return NULL;
    }
    if (sha_start(&root->sha, err) == 0)
        return root;
    bm_root_free(root);
    return NULL;
}

struct bm_root *bm_root_copy(const struct bm_root *root, struct bm_error *err)
{
    struct bm_root *copy = bm_root_new(err);

    if (copy && EVP_MD_CTX_copy_ex(copy->sha.ctx, root->sha.ctx) != 1) {
        bm_fail(err, EIO, "cannot compute SHA-256");
        bm_root_free(BM_STEAL(copy));
    }
    return copy;
}

void bm_root_free(struct bm_root *root)
{
    if (!root)
        return;
    sha_clear(&root->sha);
    free(root);
}

int bm_root_add(struct bm_root *root, const uint8_t *mds, size_t n)
{
    return EVP_DigestUpdate(root->sha.ctx, mds, n * BM_DIGEST_LEN) == 1 ? 0
                                                                        : -EIO;
}

int bm_root_final(struct bm_root *root, uint64_t length,
                  char hex[BM_DIGEST_HEX])
{
    uint8_t tail[8], md[BM_DIGEST_LEN];

    for (size_t i = 0; i < sizeof tail; i++)
        tail[i] = (uint8_t)(length >> (8 * i));
    if (EVP_DigestUpdate(root->sha.ctx, tail, sizeof tail) != 1 ||
        EVP_DigestFinal_ex(root->sha.ctx, md, NULL) != 1)
        return -EIO;
    for (size_t i = 0; i < sizeof md; i++)
        snprintf(hex + 2 * i, 3, "%02x", md[i]);
    return 0;
}
