// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the tests of compare share. The oracle of the digests is a plain second
 * computation. */
#ifndef TESTS_UNIT_COMPARE_FIXTURE_H
#define TESTS_UNIT_COMPARE_FIXTURE_H

#include "nbd/compare/compare.h"
#include "tests/unit/server-fixture.h"

#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>

static struct bm_device *devs[2];
static struct bm_compare_how how;
static struct bm_compare_result result;
static struct bm_error err = BM_ERROR_INIT;
static struct bm_process server = BM_PROCESS_INIT;

static inline void tidy(void)
{
    bm_device_close(devs[0]);
    bm_device_close(devs[1]);
    bm_compare_result_clear(&result);
    bm_process_end(&server, 2000);
    fixture_teardown();
}

TestSuite(compare, .init = fixture_setup, .fini = tidy);

/* A file of the folder, or an NBD URI. */
static inline void open_one(int i, const char *where, const char *format)
{
    const struct bm_open open = {.format = format, .queues = 2};

    ok(bm_device_open(bm_is_nbd_uri(where) ? where : at(where), &open, &devs[i],
                      &err),
       err);
}

static inline void open_both(const char *a, const char *a_format, const char *b,
                             const char *b_format)
{
    open_one(0, a, a_format);
    open_one(1, b, b_format);
}

static inline void compare(void)
{
    ok(bm_compare(devs[0], devs[1], &how, &result, &err), err);
}

static inline void compare_raw(const char *a, const char *b)
{
    open_both(a, "raw", b, "raw");
    compare();
}

/* An nbdkit with these arguments; its URI. */
static inline const char *serve(const char *arguments)
{
    static char uri[128];
    char command[256];

    snprintf(command, sizeof command, "exec nbdkit -f -U $PWD/sock %s",
             arguments);
    server_listen(&server, command, "sock");
    snprintf(uri, sizeof uri, "nbd+unix:///?socket=%s/sock", fixture_dir);
    return uri;
}

static inline void sha256(const void *data, size_t len, uint8_t *md)
{
    cr_assert_eq(EVP_Digest(data, len, md, NULL, EVP_sha256(), NULL), 1);
}

/* The digest of a raw file as docs/pitfalls.md P80 words it, the plain way. */
static inline const char *oracle(const char *file)
{
    static char hex[65];
    static uint8_t block[65536], mds[1 << 20], md[32];
    FILE *in = fopen(file, "r");
    size_t n = 0;
    uint64_t got, length = 0;

    while ((got = fread(block, 1, sizeof block, in)) > 0) {
        sha256(block, got, mds + n);
        n += 32;
        length += got;
    }
    fclose(in);
    length = htole64(length);
    memcpy(mds + n, &length, 8);
    sha256(mds, n + 8, md);
    for (size_t i = 0; i < sizeof md; i++)
        snprintf(hex + 2 * i, 3, "%02x", md[i]);
    return hex;
}

/* Changes one byte. */
static inline void flip(const char *file, long offset)
{
    FILE *io = fopen(file, "r+");
    int c;

    cr_assert(io && fseek(io, offset, SEEK_SET) == 0);
    c = fgetc(io);
    cr_assert(fseek(io, offset, SEEK_SET) == 0 && fputc(c ^ 1, io) != EOF);
    cr_assert_eq(fclose(io), 0);
}

#endif
