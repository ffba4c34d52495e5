// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One copy as a user asks for it: `blockmig copy`. A new file is written
 * under a temporary name and gets its own when all of it is there (and
 * proven, where that was asked for); a state file beside it lets an
 * interrupted copy go on.
 *
 * Threads: one; the copy itself runs its workers.
 */
#ifndef BM_IMAGECOPY_IMAGE_COPY_H
#define BM_IMAGECOPY_IMAGE_COPY_H

#include "nbd/compare/compare.h"
#include "nbd/digest/digest.h"
#include "nbd/rescue/rescue.h"

struct bm_image_copy {
    const char *source, *target; /* paths or NBD URIs */
    const char *source_format;   /* NULL: probed */
    const char *target_format;   /* NULL: raw */
    const char *state_dir; /* for the state of a device's or server's copy */
    const char *tls_certificates, *tls_psk; /* as of struct bm_open */
    bool direct; /* around the page cache, on both sides */
    bool share;  /* take no lock on the source */
    bool force;  /* replace a file, overwrite a signature */
    bool resume;
    bool verify, verify_cached; /* re-read the target: from the medium, or
                                 * from the page cache */
    const struct bm_digest *digest;
    const char *manifest; /* where to write it, or NULL */
    uint64_t bandwidth;   /* bytes a second, 0: no limit */
    bool rescue;          /* go on after read errors */
    const char *mapfile;  /* of the rescue */
    unsigned retries;
    const char *fill_from; /* a copy to take unreadable ranges from, or NULL */
    /* About every 200 ms; phase is "copying", "rescuing", "verifying" or
     * "hashing". Non-zero cancels. */
    int (*progress)(void *opaque, const char *phase, uint64_t done,
                    uint64_t total);
    void *opaque;
};

struct bm_image_copy_result {
    uint64_t size;            /* bytes of the image */
    uint64_t data, zeroes;    /* bytes written; zeroed or known to be zero */
    uint64_t kept;            /* bytes that an earlier run had copied */
    uint64_t repaired;        /* bytes that differed, and were copied again */
    const char *medium;       /* of the proof, NULL: none was asked for */
    char root[BM_DIGEST_HEX]; /* "": no digests */
    bool partial;             /* the root stands for unknown blocks too */
    int64_t copy_ms, verify_ms;
    struct bm_range *bad; /* unreadable and not filled, ascending; owned */
    size_t n_bad;
    uint64_t bad_bytes;    /* of them */
    uint64_t filled_bytes; /* that cannot be read, but come from another copy */
};
void bm_image_copy_result_clear(struct bm_image_copy_result *result);

/*
 * 0; or -EIO with status BM_EXIT_UNREADABLE: done, but for the ranges in
 * `bad`; -EBADMSG with BM_EXIT_PROOF: ranges in `bad` differ for good; what is
 * refused has BM_EXIT_REFUSED, and nothing was touched. After other errors a
 * temporary file may be left, for `resume`: the remedy says so.
 */
int bm_image_copy_run(const struct bm_image_copy *copy,
                      struct bm_image_copy_result *result,
                      struct bm_error *err);

#endif
