// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * SHA-256 of sixteen messages at once, one a lane of the AVX-512 registers:
 * the same digests at two to three times the speed. Threads: any.
 */
#ifndef BM_NBD_DIGEST_SHA256_MULTIBUFFER_H
#define BM_NBD_DIGEST_SHA256_MULTIBUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BM_SHA256_LANES 16u

/* Whether this CPU can. */
bool bm_sha256_lanes_available(void);

/* The digests of sixteen messages of len bytes, a multiple of 64; 32 bytes
 * each, one after the other. Only where it is available. */
void bm_sha256_lanes(const void *const blocks[BM_SHA256_LANES], size_t len,
                     uint8_t *mds);

#endif
