// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Manifests as files: opened, refused, taken up again and copied. */
#include "tests/unit/manifest-fixture.h"

#include <fcntl.h>

Test(manifest, opens_what_was_finished)
{
    MANIFEST *m;
    uint8_t md[32], wanted[32];

    make_small("m");
    m = must_open("m");
    make_md(wanted, 130);
    cr_expect_eq(kind(m, 130, md), BM_ENTRY_DATA);
    cr_expect_eq(memcmp(md, wanted, 32), 0);
    cr_expect_eq(kind(m, 7, md), BM_ENTRY_UNKNOWN);
    cr_expect_eq(kind(m, 8, md), BM_ENTRY_ZERO);
    cr_expect(bm_manifest_partial(m) && strlen(bm_manifest_hex(m)) == 64);
    cr_expect_eq(bm_manifest_digest(m), bm_digest_sha256);
    bm_manifest_close(m);
}

Test(manifest, header_is_as_the_contract_says)
{
    make_small("m");
    cr_expect_str_eq(fixture_word("head -c 8 m"), "BMDIGEST");
    cr_expect_str_eq(fixture_word("od -An -tu4 -j8 -N4 m"), "1");
    cr_expect_str_eq(fixture_word("od -An -tu4 -j12 -N4 m"), "1");
    cr_expect_str_eq(fixture_word("od -An -tu8 -j16 -N8 m"), "19660800");
    cr_expect_str_eq(fixture_word("od -An -tu4 -j24 -N4 m"), "65536");
    cr_expect_str_eq(fixture_word("od -An -tu4 -j28 -N4 m"), "1");
    cr_expect_str_eq(fixture_word("tail -c +33 m | head -c 6"), "sha256");
    sh("test $(head -c 4064 m | sha256sum | cut -c-64) = "
       "$(tail -c +4065 m | head -c 32 | xxd -p -c 64)");
    sh("test $(stat -c %%a/%%s m) = 600/%d", 4096 + N * 32);
}

Test(manifest, a_finished_one_cannot_be_changed)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = must_new("m", N * BLOCK);
    char hex[BM_DIGEST_HEX];
    bool partial;

    finish(m);
    cr_expect_eq(bm_manifest_set_zero(m, 0, 1, &err), -EROFS);
    cr_expect_eq(bm_manifest_finish(m, hex, &partial, &err), -EROFS);
    bm_manifest_close(m);
}

static void refused(const char *why)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = NULL;

    cr_expect_eq(bm_manifest_open("m", &m, &err), -EBADMSG, "%s", why);
    cr_expect(strstr(err.cause, why), "\"%s\" instead of \"%s\"", err.cause,
              why);
    cr_expect_null(m);
}

/* Adds one to the byte. */
static void damage(off_t at_)
{
    int fd = open("m", O_RDWR);
    uint8_t byte;

    cr_assert(pread(fd, &byte, 1, at_) == 1);
    byte++;
    cr_assert(pwrite(fd, &byte, 1, at_) == 1);
    close(fd);
}

Test(manifest, refuses_a_damaged_header)
{
    static const off_t places[] = {8,  12,  16,   24,   28,   32,  40,
                                   64, 100, 3000, 4063, 4064, 4095};

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        make_small("m");
        damage(places[i]);
        refused("its header is damaged");
    }
}

Test(manifest, refuses_damaged_entries)
{
    static const off_t entries[] = {0, 7, 8, 130, 131, N - 1};

    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        for (off_t byte = 0; byte < 32; byte += 31) {
            make_small("m");
            damage(4096 + entries[i] * 32 + byte);
            refused("its entries are damaged");
        }
}

Test(manifest, refuses_one_that_is_cut_off_or_too_long)
{
    make_small("m");
    sh("truncate -s -1 m");
    refused("it is cut off");
    make_small("m");
    sh("truncate -s 4096 m");
    refused("it is cut off");
    sh("truncate -s 100 m");
    refused("it is cut off");
    make_small("m");
    sh("echo >>m");
    refused("something follows its end");
}

Test(manifest, refuses_what_is_none)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m;

    sh("head -c 100000 /dev/urandom >m");
    refused("it is no manifest");
    sh(">m");
    refused("it is cut off");
    sh("rm m && mkfifo m");
    refused("it is no regular file");
    cr_expect_eq(bm_manifest_open("none", &m, &err), -ENOENT);
}

Test(manifest, refuses_one_in_the_making)
{
    bm_manifest_close(must_new("m", N * BLOCK));
    refused("it was never finished");
}

/* --- taking up again --- */

Test(manifest, goes_on_in_the_making)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = must_new("m", N * BLOCK + 7);
    uint8_t md[32];

    must_set(m, 3);
    ok(bm_manifest_sync(m, &err), err);
    bm_manifest_close(m);
    ok(bm_manifest_reopen("m", bm_digest_sha256, N * BLOCK + 7, &m, &err), err);
    cr_expect_eq(kind(m, 3, md), BM_ENTRY_DATA);
    must_set(m, 4);
    finish(m);
    bm_manifest_close(m);
    bm_manifest_close(must_open("m"));
}

Test(manifest, does_not_go_on_with_another)
{
    struct bm_error err = BM_ERROR_INIT;
    const struct bm_digest *sha512;
    MANIFEST *m;

    ok(bm_digest_find("SHA512", &sha512, &err), err);
    bm_manifest_close(must_new("m", N * BLOCK));
    cr_expect_eq(
        bm_manifest_reopen("m", bm_digest_sha256, N * BLOCK + 1, &m, &err),
        -ESTALE);
    cr_expect_eq(bm_manifest_reopen("m", sha512, N * BLOCK, &m, &err), -ESTALE);
    damage(4000);
    cr_expect_eq(bm_manifest_reopen("m", bm_digest_sha256, N * BLOCK, &m, &err),
                 -EBADMSG);
}

/* What came after its end has failed: a copy that goes on takes it up. */
Test(manifest, goes_on_with_a_finished_one)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = NULL, *closed = NULL;

    make_small("m");
    ok(bm_manifest_reopen("m", bm_digest_sha256, N * BLOCK, &m, &err), err);
    cr_expect_str_eq(bm_manifest_hex(m), "");
    cr_expect_eq(bm_manifest_open("m", &closed, &err), -EBADMSG);
    ok(bm_manifest_set_unknown(m, 1, 1, &err), err);
}

/* --- spools and copies --- */

Test(manifest, spool_has_no_name)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = must_new(NULL, N * BLOCK), *saved;
    char hex[BM_DIGEST_HEX];

    must_set(m, 9);
    strcpy(hex, finish(m));
    cr_expect_str_eq(fixture_word("ls -A | wc -l"), "0");
    ok(bm_manifest_save(m, "m", &err), err);
    saved = must_open("m");
    cr_expect_str_eq(bm_manifest_hex(saved), hex);
    bm_manifest_close(saved);
    bm_manifest_close(m);
    cr_expect_str_eq(fixture_word("ls -A | wc -l"), "1");
}

Test(manifest, save_wants_a_finished_one)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m = must_new(NULL, N * BLOCK);

    cr_expect_eq(bm_manifest_save(m, "m", &err), -EINVAL);
    finish(m);
    cr_expect_eq(bm_manifest_save(m, "none/m", &err), -ENOENT);
    bm_manifest_close(m);
}

Test(manifest, copy_is_in_the_making)
{
    struct bm_error err = BM_ERROR_INIT;
    MANIFEST *m, *copy;
    char hex[BM_DIGEST_HEX];
    uint8_t md[32];

    make_small("m");
    m = must_open("m");
    ok(bm_manifest_copy(m, &copy, &err), err);
    cr_expect_str_eq(bm_manifest_hex(copy), "");
    strcpy(hex, finish(copy));
    cr_expect_str_eq(hex, bm_manifest_hex(m));
    bm_manifest_close(copy);
    ok(bm_manifest_copy(m, &copy, &err), err);
    must_set(copy, 131);
    cr_expect_eq(kind(m, 131, md), BM_ENTRY_ZERO);
    bm_manifest_close(copy);
    bm_manifest_close(m);
}
