// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The file below a manifest: its header, and its bytes. Private to manifest*.c.
 * Threads: as in manifest.h.
 */
#ifndef BM_NBD_DIGEST_MANIFEST_FILE_H
#define BM_NBD_DIGEST_MANIFEST_FILE_H

#include "nbd/digest/manifest.h"

#define BM_MANIFEST_HEADER 4096

struct bm_manifest {
    int fd;
    char *name; /* for messages */
    const struct bm_digest *digest;
    uint64_t length, blocks;
    uint32_t unaligned; /* bytes of the last block if it is not full, or 0 */
    bool unnamed;       /* a spool: nobody finds it after a crash */
    bool finished, partial;
    char hex[BM_DIGEST_HEX];
    uint8_t zero[BM_DIGEST_MAX]; /* digests: of a full block of zeroes */
    uint8_t unaligned_zero[BM_DIGEST_MAX]; /* of the last block, all zero */
};

/* The place of an entry in the file. */
uint64_t bm_manifest_place(const struct bm_manifest *m, uint64_t block);
/* How many entries from this one on lie in a hole of the file. */
uint64_t bm_manifest_hole(const struct bm_manifest *m, uint64_t block);

/* All len bytes, or an error. */
int bm_manifest_read(const struct bm_manifest *m, void *buf, size_t len,
                     uint64_t at, struct bm_error *err);
int bm_manifest_write(const struct bm_manifest *m, const void *buf, size_t len,
                      uint64_t at, struct bm_error *err);
/* Zeroes, as holes where there was nothing or where it is worth it. */
int bm_manifest_clear(const struct bm_manifest *m, uint64_t at, uint64_t len,
                      struct bm_error *err);

/* -EBADMSG: cannot use it, why. */
int bm_manifest_damaged(const struct bm_manifest *m, const char *why,
                        struct bm_error *err);
/* Takes the facts from the header, checked against each other and against the
 * size of the file, or writes them there. */
int bm_manifest_read_header(struct bm_manifest *m, struct bm_error *err);
int bm_manifest_write_header(const struct bm_manifest *m, struct bm_error *err);

#endif
