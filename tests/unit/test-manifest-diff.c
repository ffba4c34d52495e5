// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What differs between two manifests. */
#include "tests/unit/manifest-fixture.h"

static char told_text[4096];

static void told(void *opaque, uint64_t offset, uint64_t length)
{
    size_t n = strlen(told_text);

    snprintf(told_text + n, sizeof told_text - n, "%llu+%llu ",
             (unsigned long long)offset, (unsigned long long)length);
}

/* What differs, in bytes. */
static const char *diff(const MANIFEST *a, const MANIFEST *b)
{
    struct bm_error err = BM_ERROR_INIT;
    char first[sizeof told_text];

    told_text[0] = '\0';
    ok(bm_manifest_diff(b, a, told, NULL, &err), err);
    strcpy(first, told_text);
    told_text[0] = '\0';
    ok(bm_manifest_diff(a, b, told, NULL, &err), err);
    cr_assert_str_eq(first, told_text);
    return told_text;
}

Test(manifest, equal_ones_do_not_differ)
{
    MANIFEST *a = must_new(NULL, N * BLOCK), *b = must_new(NULL, N * BLOCK);

    must_set(a, 1);
    must_set(b, 1);
    must_set(b, 2);
    must_zero(b, 2, 1);
    cr_expect_str_eq(diff(a, b), "");
    bm_manifest_close(a);
    bm_manifest_close(b);
}

Test(manifest, differences_are_merged)
{
    MANIFEST *a = must_new(NULL, N * BLOCK + 9);
    MANIFEST *b = must_new(NULL, N * BLOCK + 9);

    must_set(a, 1);
    must_set(b, 2);
    must_set(a, 3);
    must_set(a, 5);
    must_set(b, N);
    cr_expect_str_eq(diff(a, b), "65536+196608 327680+65536 19660800+9 ");
    bm_manifest_close(a);
    bm_manifest_close(b);
}

Test(manifest, unknown_differs_from_everything)
{
    MANIFEST *a = must_new(NULL, 5 * BLOCK), *b = must_new(NULL, 5 * BLOCK);

    must_forget(a, 0, 1); /* from zero */
    must_forget(a, 2, 1); /* from unknown */
    must_forget(b, 2, 1);
    must_forget(b, 4, 1); /* from data */
    must_set(a, 4);
    cr_expect_str_eq(diff(a, b), "0+65536 131072+65536 262144+65536 ");
    bm_manifest_close(a);
    bm_manifest_close(b);
}

Test(manifest, the_tail_of_the_longer_differs)
{
    const struct {
        uint64_t a, b;
        const char *told;
    } cases[] = {
        {0, 3 * BLOCK, "0+196608 "},
        {2 * BLOCK, 3 * BLOCK + 1, "131072+65537 "},
        {2 * BLOCK + 5, 2 * BLOCK + 6, "131072+6 "},
        {2 * BLOCK + 5, 3 * BLOCK, "131072+65536 "},
        {0, 0, ""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        MANIFEST *a = must_new(NULL, cases[i].a);
        MANIFEST *b = must_new(NULL, cases[i].b);

        cr_expect_str_eq(diff(a, b), cases[i].told);
        bm_manifest_close(a);
        bm_manifest_close(b);
    }
}

Test(manifest, different_digests_cannot_be_compared)
{
    struct bm_error err = BM_ERROR_INIT;
    const struct bm_digest *sha512;
    MANIFEST *a = must_new(NULL, BLOCK), *b;

    ok(bm_digest_find("sha512", &sha512, &err), err);
    ok(bm_manifest_new(NULL, fixture_dir, sha512, BLOCK, &b, &err), err);
    cr_expect_eq(bm_manifest_diff(a, b, told, NULL, &err), -EINVAL);
    bm_manifest_close(a);
    bm_manifest_close(b);
}
