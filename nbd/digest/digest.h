// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Digests of an image by the blkhash construction, equal to what `blksum`
 * and `nbdcopy --blkhash` print:
 *
 *     md_i = D(64 KiB block i, the last one short)
 *     root = D(md_0 .. md_n-1, the length as 8 bytes little-endian)
 *
 * Threads: a hasher and a root belong to one thread at a time; each thread
 * makes its own, because a shared EVP_MD bounces its reference count.
 */
#ifndef BM_NBD_DIGEST_DIGEST_H
#define BM_NBD_DIGEST_DIGEST_H

#include "nbd/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BM_DIGEST_BLOCK 65536u /* bytes */
#define BM_DIGEST_MAX 64       /* bytes of the longest digest */
#define BM_DIGEST_HEX (2 * BM_DIGEST_MAX + 1)
#define BM_HASH_BATCH 16u /* blocks a call that suit the fastest kernel */

/* An algorithm D of the white list. */
struct bm_digest {
    const char *name; /* "sha256", as the user writes it; case is ignored */
    const char *evp;  /* OpenSSL's name */
    size_t len;       /* bytes of a digest */
};
extern const struct bm_digest *const bm_digest_sha256;
/* -EINVAL: not in the list, which the remedy shows. */
int bm_digest_find(const char *name, const struct bm_digest **out,
                   struct bm_error *err);

/* Whether len bytes are all zero. */
bool bm_is_zero(const void *data, size_t len);

/* Digests blocks. */
struct bm_hasher;
struct bm_hasher *bm_hasher_new(const struct bm_digest *digest,
                                struct bm_error *err);
void bm_hasher_free(struct bm_hasher *hasher); /* accepts NULL */

/* mds of n blocks of lens[i] bytes, 1 to BM_DIGEST_BLOCK; the i-th goes to
 * mds + i * digest->len. blocks[i] NULL: zeroes. Full blocks of zeroes cost no
 * hashing; full blocks of data are hashed 16 at a time where the CPU can.
 * zero, if given, is told which blocks are all zero. 0 or -EIO. */
int bm_hasher_blocks(struct bm_hasher *hasher, size_t n,
                     const void *const blocks[], const size_t lens[],
                     uint8_t *mds, bool *zero);

/* md of a full block of zeroes: digest->len bytes, owned by the hasher. */
const uint8_t *bm_hasher_zero(const struct bm_hasher *hasher);

/* The digest over the block digests, fed in order. */
struct bm_root;
struct bm_root *bm_root_new(const struct bm_digest *digest,
                            struct bm_error *err);
/* Another one that has been fed the same. */
struct bm_root *bm_root_copy(const struct bm_root *root, struct bm_error *err);
void bm_root_free(struct bm_root *root); /* accepts NULL */
/* Feeds n digests that lie one after the other. 0 or -EIO. */
int bm_root_add(struct bm_root *root, const uint8_t *mds, size_t n);
/* Feeds the digest of n full blocks of zeroes, n times: at the speed of the
 * outer digest. 0 or -EIO. */
int bm_root_add_zero(struct bm_root *root, uint64_t n);
/* Ends it: the hex digest of an image of length bytes. 0 or -EIO. */
int bm_root_final(struct bm_root *root, uint64_t length,
                  char hex[BM_DIGEST_HEX]);

#endif
