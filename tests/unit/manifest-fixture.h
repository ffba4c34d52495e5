// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the tests of manifests share. */
#ifndef TESTS_UNIT_MANIFEST_FIXTURE_H
#define TESTS_UNIT_MANIFEST_FIXTURE_H

#include "nbd/digest/manifest.h"
#include "tests/unit/fixture.h"

#include <errno.h>

TestSuite(manifest, .init = fixture_setup, .fini = fixture_teardown);

#define BLOCK ((uint64_t)BM_DIGEST_BLOCK)

#define N 300 /* blocks of a small image: more than one page of entries */

typedef struct bm_manifest MANIFEST;

static inline MANIFEST *must_new(const char *path, uint64_t length)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = NULL;

    ok(bm_manifest_new(path, fixture_dir, bm_digest_sha256, length, &m, &err),
       err);
    return m;
}

static inline MANIFEST *must_open(const char *path)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = NULL;

    ok(bm_manifest_open(path, &m, &err), err);
    return m;
}

/* An md that stands for block i. */
static inline void make_md(uint8_t md[32], uint64_t i)
{
    for (size_t j = 0; j < 32; j++)
        md[j] = (uint8_t)(i * 7 + j * 13 + 1);
}

static inline void must_set(MANIFEST *m, uint64_t block)
{
    struct bm_error err = BM_ERROR_INIT;
    uint8_t md[32];

    make_md(md, block);
    ok(bm_manifest_set(m, block, 1, md, NULL, &err), err);
}

static inline void must_zero(MANIFEST *m, uint64_t first, uint64_t n)
{
    struct bm_error err = BM_ERROR_INIT;

    ok(bm_manifest_set_zero(m, first, n, &err), err);
}

static inline void must_forget(MANIFEST *m, uint64_t first, uint64_t n)
{
    struct bm_error err = BM_ERROR_INIT;

    ok(bm_manifest_set_unknown(m, first, n, &err), err);
}

static inline const char *finish(MANIFEST *m)
{
    static char hex[BM_DIGEST_HEX];
    struct bm_error err = BM_ERROR_INIT;
    bool partial;

    ok(bm_manifest_finish(m, hex, &partial, &err), err);
    cr_expect_eq(partial, bm_manifest_partial(m));
    return hex;
}

static inline enum bm_entry kind(const MANIFEST *m, uint64_t block,
                                 uint8_t md[32])
{
    struct bm_error err = BM_ERROR_INIT;
    enum bm_entry kind_;

    ok(bm_manifest_get(m, block, 1, md, &kind_, &err), err);
    return kind_;
}

/* The small image of most tests: blocks of data at some places, one unknown,
 * finished. */
static inline void make_small(const char *path)
{
    MANIFEST *m = must_new(path, N * BLOCK);

    must_set(m, 0);
    must_set(m, 130);
    must_set(m, N - 1);
    must_forget(m, 7, 1);
    finish(m);
    bm_manifest_close(m);
}

#endif
