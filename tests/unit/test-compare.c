// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The oracle of the digests is a plain second computation. */
#include "nbd/compare.h"
#include "tests/unit/fixture.h"

#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <signal.h>

static struct bm_device *devs[2];
static struct bm_compare_result result;
static struct bm_error err = BM_ERROR_INIT;

static void tidy(void)
{
    bm_device_close(devs[0]);
    bm_device_close(devs[1]);
    bm_compare_result_clear(&result);
    fixture_teardown();
}

TestSuite(compare, .init = fixture_setup, .fini = tidy);

static void open_both(const char *a, const char *a_format, const char *b,
                      const char *b_format)
{
    const struct bm_image_layer layers[2] = {{at(a), a_format, false},
                                             {at(b), b_format, false}};

    for (int i = 0; i < 2; i++)
        ok(bm_device_open_image(&layers[i], 1, 2, &devs[i], &err), err);
}

static void compare_raw(const char *a, const char *b)
{
    open_both(a, "raw", b, "raw");
    ok(bm_compare(devs[0], devs[1], NULL, NULL, &result, &err), err);
}

static void sha256(const void *data, size_t len, uint8_t *md)
{
    cr_assert_eq(EVP_Digest(data, len, md, NULL, EVP_sha256(), NULL), 1);
}

/* The digest of a raw file as performance.md C1 words it, the plain way. */
static const char *oracle(const char *file)
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
static void flip(const char *file, long offset)
{
    FILE *io = fopen(file, "r+");
    int c;

    cr_assert(io && fseek(io, offset, SEEK_SET) == 0);
    c = fgetc(io);
    cr_assert(fseek(io, offset, SEEK_SET) == 0 && fputc(c ^ 1, io) != EOF);
    cr_assert_eq(fclose(io), 0);
}

Test(compare, equal_images)
{
    sh("head -c 8M /dev/urandom >a && cp a b");
    compare_raw("a", "b");
    cr_expect(result.equal);
    cr_expect_eq(result.size, 8 << 20);
    cr_expect_eq(result.data_read, 8 << 20);
    cr_expect_eq(result.n_ranges, 0);
    cr_expect_str_eq(result.medium, "medium");
    cr_expect_str_eq(result.root_a, result.root_b);
}

Test(compare, roots_are_the_blkhash_of_each_side)
{
    sh("head -c 1000K /dev/urandom >a && cp a b && truncate -s 2047K a");
    sh("head -c 700K /dev/urandom >>b");
    compare_raw("a", "b");
    cr_expect_not(result.equal);
    cr_expect_str_eq(result.root_a, oracle("a"));
    cr_expect_str_eq(result.root_b, oracle("b"));
}

Test(compare, every_differing_block_is_found)
{
    sh("head -c 1M /dev/urandom >a && cp a b");
    flip("b", 0);
    flip("b", 300000);
    flip("b", 1048575);
    compare_raw("a", "b");
    cr_assert_eq(result.n_ranges, 3);
    cr_expect_eq(result.ranges[0].offset, 0);
    cr_expect_eq(result.ranges[1].offset, 262144);
    cr_expect_eq(result.ranges[2].offset, 1048576 - 65536);
    cr_expect_eq(result.different, 3 * 65536);
    cr_expect_str_neq(result.root_a, result.root_b);
}

Test(compare, neighbours_are_one_range)
{
    sh("head -c 1M /dev/zero >a && cp a b");
    sh("head -c 200000 /dev/urandom | dd of=b bs=64K seek=3 conv=notrunc "
       "2>/dev/null");
    compare_raw("a", "b");
    cr_assert_eq(result.n_ranges, 1);
    cr_expect_eq(result.ranges[0].offset, 3 * 65536);
    cr_expect_eq(result.ranges[0].length, 4 * 65536);
}

Test(compare, holes_are_not_read)
{
    sh("truncate -s 10G a b");
    sh("head -c 64K /dev/urandom | tee a.dat | "
       "dd of=a bs=64K seek=40000 conv=notrunc 2>/dev/null");
    sh("dd if=a.dat of=b bs=64K seek=40000 conv=notrunc 2>/dev/null");
    compare_raw("a", "b");
    cr_expect(result.equal);
    cr_expect_eq(result.data_read, 65536);
}

Test(compare, written_zeroes_equal_a_hole)
{
    sh("head -c 1M /dev/zero >a && truncate -s 1M b");
    compare_raw("a", "b");
    cr_expect(result.equal);
}

Test(compare, data_against_a_hole_differs)
{
    sh("truncate -s 1M a b");
    sh("printf x | dd of=b bs=1 seek=500000 conv=notrunc 2>/dev/null");
    compare_raw("a", "b");
    cr_expect_eq(result.n_ranges, 1);
    cr_expect_str_eq(result.root_a, oracle("a"));
    cr_expect_str_eq(result.root_b, oracle("b"));
}

Test(compare, different_sizes_differ_by_their_tail)
{
    sh("head -c 1M /dev/urandom >a && cp a b && truncate -s 3M b");
    compare_raw("a", "b");
    cr_expect_not(result.equal);
    cr_expect_eq(result.size, 3 << 20);
    cr_assert_eq(result.n_ranges, 1);
    cr_expect_eq(result.ranges[0].offset, 1 << 20);
    cr_expect_eq(result.ranges[0].length, 2 << 20);
    cr_expect_str_eq(result.root_a, oracle("a"));
    cr_expect_str_eq(result.root_b, oracle("b"));
}

Test(compare, tail_of_a_size_that_is_no_multiple)
{
    sh("head -c 1000448 /dev/urandom >a && cp a b && truncate -s 1000960 b");
    compare_raw("a", "b");
    cr_assert_eq(result.n_ranges, 1);
    cr_expect_eq(result.ranges[0].offset, 15 * 65536);
    cr_expect_eq(result.ranges[0].length, 1000960 - 15 * 65536);
}

Test(compare, empty_images_are_equal)
{
    sh("truncate -s 0 a b");
    compare_raw("a", "b");
    cr_expect(result.equal);
    cr_expect_str_eq(
        result.root_a,
        "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
}

Test(compare, chain_against_its_flat_copy)
{
    const struct bm_image_layer chain[] = {{at("top"), "qcow2", false},
                                           {at("base"), "qcow2", false}};
    const struct bm_image_layer flat = {at("flat"), "raw", false};

    sh("qemu-img create -q -f qcow2 base 300M && "
       "qemu-io -f qcow2 -c 'write -P 1 100M 40M' base >/dev/null && "
       "qemu-img create -q -f qcow2 -b base -F qcow2 top && "
       "qemu-io -f qcow2 -c 'write -P 2 120M 10M' -c 'write -z 110M 5M' top "
       ">/dev/null && qemu-img convert -f qcow2 -O raw top flat");
    ok(bm_device_open_image(chain, 2, 2, &devs[0], &err), err);
    ok(bm_device_open_image(&flat, 1, 2, &devs[1], &err), err);
    ok(bm_compare(devs[0], devs[1], NULL, NULL, &result, &err), err);
    cr_expect(result.equal);
    cr_expect_leq(result.data_read, 41 << 20);
    cr_expect_str_eq(result.root_b, oracle("flat"));
}

Test(compare, more_ranges_than_are_listed)
{
    sh("truncate -s 600M a"); /* every other block of b, 4800 of them */
    sh("qemu-img create -q -f qcow2 b 600M && for i in $(seq 0 128 614399); "
       "do echo \"write -P 1 ${i}k 4k\"; done | qemu-io -f qcow2 b >/dev/null");
    open_both("a", "raw", "b", "qcow2");
    ok(bm_compare(devs[0], devs[1], NULL, NULL, &result, &err), err);
    cr_expect(result.truncated);
    cr_expect_eq(result.n_ranges, BM_COMPARE_MAX);
    cr_expect_eq(result.different, 4800 * 65536);
}

Test(compare, agrees_with_qemu_img)
{
    sh("head -c 3M /dev/urandom >a && qemu-img convert -O qcow2 a b");
    open_both("a", "raw", "b", "qcow2");
    ok(bm_compare(devs[0], devs[1], NULL, NULL, &result, &err), err);
    cr_expect(result.equal);
    sh("qemu-img compare -q -f raw -F qcow2 a b");
}

/* Called from the test's thread, in the middle of the work. */
static int kill_server(void *opaque, uint64_t done, uint64_t total)
{
    kill(bm_device_server_pid(devs[1]), SIGKILL);
    kill(bm_device_server_pid(devs[0]), SIGCONT);
    return 0;
}

/* A server whose data are slow to come, so that a tick finds it at work. */
static void open_slow(void)
{
    sh("head -c 64M /dev/urandom >a && cp a b");
    open_both("a", "raw", "b", "raw");
    kill(bm_device_server_pid(devs[0]), SIGSTOP);
}

Test(compare, server_killed_meanwhile_is_an_error)
{
    open_slow();
    cr_expect_lt(bm_compare(devs[0], devs[1], kill_server, NULL, &result, &err),
                 0);
    cr_expect_null(result.ranges);
    cr_expect_neq(err.what[0], '\0');
}

static int cancel(void *opaque, uint64_t done, uint64_t total)
{
    kill(bm_device_server_pid(devs[0]), SIGCONT);
    return 1;
}

Test(compare, progress_cancels)
{
    open_slow();
    cr_expect_eq(bm_compare(devs[0], devs[1], cancel, NULL, &result, &err),
                 -ECANCELED);
}

static int cut_off(void *opaque, uint64_t done, uint64_t total)
{
    sh("truncate -s 32M a");
    kill(bm_device_server_pid(devs[0]), SIGCONT);
    return 0;
}

Test(compare, image_truncated_meanwhile_is_an_error)
{
    open_slow();
    cr_expect_eq(bm_compare(devs[0], devs[1], cut_off, NULL, &result, &err),
                 -EIO);
    cr_expect(strstr(err.cause, "truncated"), "%s", err.cause);
}
