// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The digests of an image as a file. A header of 4 KiB, then one entry a
 * block of 64 KiB, digest->len bytes each, in order. Two entries are special
 * (no digest can be expected to take these values): all bytes 0x00, the block
 * is full and all zero, so that holes cost nothing, here as there; all bytes
 * 0xff, the block could not be read and is unknown. The header carries the
 * root, which is the checksum of the entries, and a checksum of itself.
 *
 * A manifest in the making is a file of that form whose header says so; its
 * entries may be set in any order.
 *
 * The header, little-endian:
 *
 *        0  8 bytes     magic "BMDIGEST"
 *        8  4 bytes     version, 1
 *       12  4 bytes     state: 0 in the making, 1 finished
 *       16  8 bytes     length of the image in bytes
 *       24  4 bytes     bytes of a block, 65536
 *       28  4 bytes     flags: 1 partial, some blocks are unknown
 *       32  32 bytes    name of the digest, padded with zeroes
 *       64  136 bytes   root in hex, padded with zeroes; in the making: empty
 *      200  3864 bytes  zero
 *     4064  32 bytes    SHA-256 of the 4064 bytes before
 *
 * Threads: set may be called by several threads for different blocks;
 * everything else by one at a time.
 */
#ifndef BM_NBD_DIGEST_MANIFEST_H
#define BM_NBD_DIGEST_MANIFEST_H

#include "nbd/digest/digest.h"

struct bm_manifest;

/* What is known of one block. */
enum bm_entry { BM_ENTRY_ZERO, BM_ENTRY_DATA, BM_ENTRY_UNKNOWN };

/* A new one in the file path, created or truncated, mode 0600; path NULL: in
 * an unnamed file in the folder `near` (a spool), near NULL: in $TMPDIR or
 * /var/tmp. Every block is zero at first. length: bytes of the image. */
int bm_manifest_new(const char *path, const char *near,
                    const struct bm_digest *digest, uint64_t length,
                    struct bm_manifest **out, struct bm_error *err);
/* Takes one up again, in the making or finished: it is in the making then.
 * -EBADMSG, or -ESTALE when it is of another length or digest. */
int bm_manifest_reopen(const char *path, const struct bm_digest *digest,
                       uint64_t length, struct bm_manifest **out,
                       struct bm_error *err);
/* A finished one, read-only, checked whole: -EBADMSG when it is damaged, cut
 * off, in the making, or none. */
int bm_manifest_open(const char *path, struct bm_manifest **out,
                     struct bm_error *err);
void bm_manifest_close(struct bm_manifest *m); /* accepts NULL */

const struct bm_digest *bm_manifest_digest(const struct bm_manifest *m);
uint64_t bm_manifest_length(const struct bm_manifest *m); /* of the image */
uint64_t bm_manifest_blocks(const struct bm_manifest *m);

/* Sets n entries from block `first` on; mds as bm_hasher_blocks made them;
 * where zero[i], the block is zero. zero may be NULL. */
int bm_manifest_set(struct bm_manifest *m, uint64_t first, size_t n,
                    const uint8_t *mds, const bool *zero, struct bm_error *err);
/* n blocks are all zero (the unaligned last one too: it gets its digest), or
 * unknown. */
int bm_manifest_set_zero(struct bm_manifest *m, uint64_t first, uint64_t n,
                         struct bm_error *err);
int bm_manifest_set_unknown(struct bm_manifest *m, uint64_t first, uint64_t n,
                            struct bm_error *err);

/* n entries as digests (those of zero blocks filled in), and their kinds. */
int bm_manifest_get(const struct bm_manifest *m, uint64_t first, size_t n,
                    uint8_t *mds, enum bm_entry *kinds, struct bm_error *err);

/* Computes the root over all entries, in hex; *partial: some are unknown, and
 * the root (over 0xff entries) equals that of no image. */
int bm_manifest_root(const struct bm_manifest *m, char hex[BM_DIGEST_HEX],
                     bool *partial, struct bm_error *err);
/* Writes the header with the root: finished, and durable. */
int bm_manifest_finish(struct bm_manifest *m, char hex[BM_DIGEST_HEX],
                       bool *partial, struct bm_error *err);
/* Entries are durable (one in the making). */
int bm_manifest_sync(struct bm_manifest *m, struct bm_error *err);

/* A finished one into a file of this name, replaced atomically, durable,
 * sparse. */
int bm_manifest_save(const struct bm_manifest *m, const char *path,
                     struct bm_error *err);

/* Whether save may replace what has this name: nothing, or a manifest. Else
 * -EEXIST; and the folder must be there. */
int bm_manifest_may_replace(const char *path, struct bm_error *err);
/* A spool with the same entries, in the making. */
int bm_manifest_copy(const struct bm_manifest *m, struct bm_manifest **out,
                     struct bm_error *err);

/* What the header says. */
const char *
bm_manifest_hex(const struct bm_manifest *m); /* "": in the making */
bool bm_manifest_partial(const struct bm_manifest *m);

/* Calls told with each range of blocks that differ, merged, in bytes; unknown
 * differs from everything. Of different length: the longer one's tail differs.
 * -EINVAL: different digests. */
typedef void (*bm_manifest_told)(void *opaque, uint64_t offset,
                                 uint64_t length);
int bm_manifest_diff(const struct bm_manifest *a, const struct bm_manifest *b,
                     bm_manifest_told told, void *opaque, struct bm_error *err);

#endif
