// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Digests of an image by the blkhash construction, equal to what `blksum`
 * and `nbdcopy --blkhash` print:
 *
 *     md_i = SHA-256(64 KiB block i, the last one short)
 *     root = SHA-256(md_0 .. md_n-1, the length as 8 bytes little-endian)
 *
 * Threads: a hasher and a root belong to one thread at a time; each thread
 * makes its own, because a shared EVP_MD bounces its reference count.
 */
#ifndef BM_DIGEST_H
#define BM_DIGEST_H

#include "nbd/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BM_DIGEST_BLOCK 65536u /* bytes */
#define BM_DIGEST_LEN 32       /* bytes of one block digest */
#define BM_DIGEST_HEX (2 * BM_DIGEST_LEN + 1)

/* Whether len bytes are all zero. */
bool bm_is_zero(const void *data, size_t len);

/* Digests blocks. */
struct bm_hasher;
struct bm_hasher *bm_hasher_new(struct bm_error *err);
void bm_hasher_free(struct bm_hasher *hasher); /* accepts NULL */

/* md of one block of 1 to BM_DIGEST_BLOCK bytes. A full block of zeroes is
 * recognised and costs no hashing. 0 or -EIO. */
int bm_hasher_block(struct bm_hasher *hasher, const void *data, size_t len,
                    uint8_t md[BM_DIGEST_LEN]);

/* md of a block of len zeroes. */
int bm_hasher_zero(struct bm_hasher *hasher, size_t len,
                   uint8_t md[BM_DIGEST_LEN]);

/* The digest over the block digests, fed in order. */
struct bm_root;
struct bm_root *bm_root_new(struct bm_error *err);
/* Another one that has been fed the same. */
struct bm_root *bm_root_copy(const struct bm_root *root, struct bm_error *err);
void bm_root_free(struct bm_root *root); /* accepts NULL */
/* Feeds n digests that lie one after the other. 0 or -EIO. */
int bm_root_add(struct bm_root *root, const uint8_t *mds, size_t n);
/* Ends it: the hex digest of an image of length bytes. 0 or -EIO. */
int bm_root_final(struct bm_root *root, uint64_t length,
                  char hex[BM_DIGEST_HEX]);

#endif
