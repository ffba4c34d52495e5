// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The oracle of the digests is a plain second computation. */
#include "nbd/compare.h"
#include "nbd/span.h"
#include "nbd/units.h"
#include "tests/unit/fixture.h"

#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <signal.h>

static struct bm_device *devs[2];
static struct bm_compare_how how;
static struct bm_compare_result result;
static struct bm_error err = BM_ERROR_INIT;

static void tidy(void)
{
    bm_device_close(devs[0]);
    bm_device_close(devs[1]);
    bm_compare_result_clear(&result);
    sh("for pid in *.pid; do [ ! -e $pid ] || kill $(cat $pid); done");
    fixture_teardown();
}

TestSuite(compare, .init = fixture_setup, .fini = tidy);

/* A file of the folder, or an NBD URI. */
static void open_one(int i, const char *where, const char *format)
{
    const struct bm_open open = {.format = format, .lanes = 2};

    ok(bm_device_open(bm_is_nbd_uri(where) ? where : at(where), &open, &devs[i],
                      &err),
       err);
}

static void open_both(const char *a, const char *a_format, const char *b,
                      const char *b_format)
{
    open_one(0, a, a_format);
    open_one(1, b, b_format);
}

static void compare(void)
{
    ok(bm_compare(devs[0], devs[1], &how, &result, &err), err);
}

static void compare_raw(const char *a, const char *b)
{
    open_both(a, "raw", b, "raw");
    compare();
}

/* An nbdkit with these arguments; its URI. */
static const char *serve(const char *name, const char *args)
{
    static char uris[2][320];
    static unsigned next;
    char *uri = uris[next++ % 2];

    sh("nbdkit -U $PWD/%s.sock -P %s.pid %s", name, name, args);
    snprintf(uri, sizeof *uris, "nbd+unix:///?socket=%s.sock", at(name));
    return uri;
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
    cr_expect_str_eq(result.medium, "cache");
}

Test(compare, no_digests_unless_they_are_wanted)
{
    sh("head -c 1M /dev/urandom >a && cp a b");
    compare_raw("a", "b");
    cr_expect_str_empty(result.root_a);
    cr_expect_str_empty(result.root_b);
}

Test(compare, roots_are_the_blkhash_of_each_side)
{
    how.digests = true;
    sh("head -c 1000K /dev/urandom >a && cp a b && truncate -s 2047K a");
    sh("head -c 700K /dev/urandom >>b");
    compare_raw("a", "b");
    cr_expect_not(result.equal);
    cr_expect_str_eq(result.root_a, oracle("a"));
    cr_expect_str_eq(result.root_b, oracle("b"));
}

Test(compare, roots_of_equal_images)
{
    how.digests = true;
    sh("head -c 5000001 /dev/urandom >a && cp a b");
    compare_raw("a", "b");
    cr_expect_str_eq(result.root_a, oracle("a"));
    cr_expect_str_eq(result.root_b, oracle("a"));
}

/* Islands of data, many spans, a difference late and a ragged longer side. */
Test(compare, roots_with_holes)
{
    how.digests = true;
    sh("head -c 3M /dev/urandom >data && truncate -s 200M a && "
       "for at in 1 30 31 100 191; do "
       "dd if=data of=a bs=1M seek=$at conv=notrunc status=none; done && "
       "cp --sparse=always a b && truncate -s 210000001 b");
    flip("b", 191 << 20);
    compare_raw("a", "b");
    cr_expect_eq(result.n_ranges, 2);
    cr_expect_leq(result.data_read, 16 << 20);
    cr_expect_str_eq(result.root_a, oracle("a"));
    cr_expect_str_eq(result.root_b, oracle("b"));
}

Test(compare, roots_by_nbd)
{
    const char *uri;

    how.digests = true;
    sh("head -c 20M /dev/urandom >a && truncate -s 60M a && cp a b");
    flip("b", 50 << 20);
    uri = serve("b", "file b");
    open_both("a", "raw", uri, NULL);
    compare();
    cr_expect_eq(result.n_ranges, 1);
    cr_expect_str_eq(result.root_a, oracle("a"));
    cr_expect_str_eq(result.root_b, oracle("b"));
    cr_expect_str_eq(result.medium, "cache");
}

/* --- ranges --- */

Test(compare, every_differing_block_is_found)
{
    sh("head -c 1M /dev/urandom >a && cp a b");
    flip("b", 0);
    flip("b", 300000);
    flip("b", 1048575);
    compare_raw("a", "b");
    cr_expect_not(result.equal);
    cr_assert_eq(result.n_ranges, 3);
    cr_expect_eq(result.ranges[0].offset, 0);
    cr_expect_eq(result.ranges[1].offset, 262144);
    cr_expect_eq(result.ranges[2].offset, 1048576 - 65536);
    cr_expect_eq(result.different, 3 * 65536);
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

/* Every other block, more of them than a vector begins with. */
Test(compare, all_ranges_are_listed)
{
    FILE *io;

    sh("truncate -s 600M a b");
    io = fopen("b", "r+");
    for (long i = 0; i < 4800; i++)
        cr_assert(fseek(io, i * 131072, SEEK_SET) == 0 &&
                  fputc('x', io) != EOF);
    cr_assert_eq(fclose(io), 0);
    compare_raw("a", "b");
    cr_expect_not(result.truncated);
    cr_assert_eq(result.n_ranges, 4800);
    for (size_t i = 0; i < result.n_ranges; i++)
        cr_expect_eq(result.ranges[i].offset, i * 131072);
    cr_expect_eq(result.different, 4800 * 65536);
}

/* Spans as many workers may end them; only those that touch are joined. */
Test(compare, spans_that_end_in_any_order)
{
    const uint64_t sizes[2] = {40 * BM_COMPARE_BLOCK, 40 * BM_COMPARE_BLOCK};
    struct bm_span *data = bm_span_new(20, 10, 0);
    struct bm_ledger ledger;

    data->differ[3] = true;
    ok(bm_ledger_start(&ledger, sizes, false, &result, &err), err);
    ok(bm_ledger_add(&ledger, bm_span_new_zero(10, 5), &err), err);
    ok(bm_ledger_add(&ledger, bm_span_new_zero(30, 10), &err), err);
    ok(bm_ledger_add(&ledger, bm_span_new_zero(15, 5), &err), err);
    ok(bm_ledger_add(&ledger, data, &err), err);
    cr_expect_eq(ledger.held, 1);
    cr_expect_eq(result.n_ranges, 0);
    ok(bm_ledger_add(&ledger, bm_span_new_zero(0, 10), &err), err);
    cr_expect_eq(ledger.settled, 40);
    cr_expect_eq(ledger.held, 0);
    cr_assert_eq(result.n_ranges, 1);
    cr_expect_eq(result.ranges[0].offset, 23 * BM_COMPARE_BLOCK);
    bm_ledger_clear(&ledger);
}

/* --- zeroes --- */

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

Test(compare, a_tebibyte_of_nothing_is_quick)
{
    int64_t start;

    how.digests = true;
    sh("truncate -s 1T a && qemu-img create -q -f qcow2 b 1T");
    open_both("a", "raw", "b", "qcow2");
    start = bm_now_ms();
    compare();
    cr_expect_lt(bm_now_ms() - start, 3000);
    cr_expect(result.equal);
    cr_expect_eq(result.data_read, 0);
    cr_expect_str_eq(result.root_a, result.root_b);
}

Test(compare, written_zeroes_equal_a_hole)
{
    sh("head -c 1M /dev/zero >a && truncate -s 1M b");
    compare_raw("a", "b");
    cr_expect(result.equal);
}

Test(compare, data_against_a_hole_differs)
{
    how.digests = true;
    sh("truncate -s 1M a b");
    sh("printf x | dd of=b bs=1 seek=500000 conv=notrunc 2>/dev/null");
    compare_raw("a", "b");
    cr_expect_eq(result.n_ranges, 1);
    cr_expect_str_eq(result.root_a, oracle("a"));
    cr_expect_str_eq(result.root_b, oracle("b"));
}

Test(compare, a_hole_that_ends_in_a_block)
{
    how.digests = true;
    sh("truncate -s 3000001 a b");
    compare_raw("a", "b");
    cr_expect(result.equal);
    cr_expect_str_eq(result.root_a, oracle("a"));
    cr_expect_str_eq(result.root_b, oracle("a"));
}

/* --- sizes --- */

Test(compare, holes_of_different_size)
{
    sh("truncate -s 1M a && truncate -s 3M b");
    compare_raw("a", "b");
    cr_expect_not(result.equal);
    cr_assert_eq(result.n_ranges, 1);
    cr_expect_eq(result.ranges[0].offset, 1 << 20);
    cr_expect_eq(result.ranges[0].length, 2 << 20);
}

Test(compare, different_sizes_differ_by_their_tail)
{
    how.digests = true;
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

Test(compare, a_tail_that_differs_anyway_is_not_read)
{
    sh("head -c 1M /dev/urandom >a && cp a b && head -c 2M /dev/urandom >>b");
    compare_raw("a", "b");
    cr_assert_eq(result.n_ranges, 1);
    cr_expect_eq(result.ranges[0].length, 2 << 20);
    cr_expect_eq(result.data_read, 1 << 20);
}

Test(compare, tail_of_a_size_that_is_no_multiple)
{
    sh("head -c 1000449 /dev/urandom >a && cp a b && truncate -s 1000963 b");
    compare_raw("a", "b");
    cr_assert_eq(result.n_ranges, 1);
    cr_expect_eq(result.ranges[0].offset, 15 * 65536);
    cr_expect_eq(result.ranges[0].length, 1000963 - 15 * 65536);
}

Test(compare, zero_tail_is_as_good_as_none)
{
    how.zero_tail = true;
    how.digests = true;
    sh("head -c 1000001 /dev/urandom >a && cp a b && "
       "head -c 1M /dev/zero >>b && truncate -s 100M b");
    compare_raw("a", "b");
    cr_expect(result.equal);
    cr_expect_eq(result.n_ranges, 0);
    cr_expect_str_eq(result.root_a, oracle("a"));
    cr_expect_str_eq(result.root_b, oracle("b"));
}

Test(compare, zero_tail_with_a_byte_in_it)
{
    how.zero_tail = true;
    sh("head -c 1000001 /dev/urandom >b && cp b a && truncate -s 40M a");
    flip("a", 1000001); /* the first one that b has not */
    flip("a", 30 << 20);
    compare_raw("a", "b");
    cr_expect_not(result.equal);
    cr_assert_eq(result.n_ranges, 2);
    cr_expect_eq(result.ranges[0].offset, 15 * 65536);
    cr_expect_eq(result.ranges[1].offset, 30 << 20);
}

Test(compare, empty_images_are_equal)
{
    how.digests = true;
    sh("truncate -s 0 a b");
    compare_raw("a", "b");
    cr_expect(result.equal);
    cr_expect_str_eq(
        result.root_a,
        "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
}

Test(compare, nothing_against_zeroes)
{
    how.zero_tail = true;
    sh("truncate -s 0 a && truncate -s 1T b");
    compare_raw("a", "b");
    cr_expect(result.equal);
    cr_expect_eq(result.data_read, 0);
}

/* --- formats --- */

Test(compare, chain_against_its_flat_copy)
{
    const struct bm_image_layer chain[] = {{at("top"), "qcow2", false},
                                           {at("base"), "qcow2", false}};
    const struct bm_image_layer flat = {at("flat"), "raw", false};

    how.digests = true;
    sh("qemu-img create -q -f qcow2 base 150M && "
       "qemu-io -f qcow2 -c 'write -P 1 90M 20M' base >/dev/null && "
       "qemu-img create -q -f qcow2 -b base -F qcow2 top && "
       "qemu-io -f qcow2 -c 'write -P 2 100M 10M' -c 'write -z 95M 5M' top "
       ">/dev/null && qemu-img convert -f qcow2 -O raw top flat");
    ok(bm_device_open_image(chain, 2, 2, &devs[0], &err), err);
    ok(bm_device_open_image(&flat, 1, 2, &devs[1], &err), err);
    compare();
    cr_expect(result.equal);
    cr_expect_leq(result.data_read, 21 << 20);
    cr_expect_str_eq(result.root_b, oracle("flat"));
}

Test(compare, agrees_with_qemu_img)
{
    sh("head -c 3M /dev/urandom >a && qemu-img convert -O qcow2 a b");
    open_both("a", "raw", "b", "qcow2");
    compare();
    cr_expect(result.equal);
    sh("qemu-img compare -q -f raw -F qcow2 a b");
}

/* --- trouble --- */

Test(compare, an_unreadable_block_is_an_error)
{
    sh("head -c 8M /dev/urandom >a && printf '0 + 1\n0 0x300000 +\n"
       "0x300000 0x1000 -\n0x301000 0x4ff000 +\n' >map");
    open_both("a", "raw",
              serve("b", "--filter=ddrescue file a ddrescue-mapfile=map"),
              NULL);
    cr_expect_eq(bm_compare(devs[0], devs[1], &how, &result, &err), -EIO);
    cr_expect(strstr(err.what, "3145728"), "%s", err.what);
    cr_expect_null(result.ranges);
}

/* A server whose data are slow to come, so that a tick finds it at work. */
static void open_slow(void)
{
    sh("head -c 64M /dev/urandom >a && qemu-img convert -O qcow2 a b");
    open_both("a", "raw", "b", "qcow2");
    kill(bm_device_server_pid(devs[1]), SIGSTOP);
}

/* Called from the test's thread, in the middle of the work. */
static int kill_server(void *opaque, uint64_t done, uint64_t total)
{
    kill(bm_device_server_pid(devs[1]), SIGKILL);
    return 0;
}

Test(compare, server_killed_meanwhile_is_an_error)
{
    open_slow();
    how.progress = kill_server;
    cr_expect_lt(bm_compare(devs[0], devs[1], &how, &result, &err), 0);
    cr_expect_null(result.ranges);
    cr_expect_neq(err.what[0], '\0');
}

static int cancel(void *opaque, uint64_t done, uint64_t total)
{
    kill(bm_device_server_pid(devs[1]), SIGCONT);
    return 1;
}

Test(compare, progress_cancels)
{
    open_slow();
    how.progress = cancel;
    cr_expect_eq(bm_compare(devs[0], devs[1], &how, &result, &err), -ECANCELED);
}

static int cut_off(void *opaque, uint64_t done, uint64_t total)
{
    sh("truncate -s 32M %s", (const char *)opaque);
    kill(bm_device_server_pid(devs[1]), SIGCONT);
    return 0;
}

Test(compare, file_truncated_meanwhile_is_an_error)
{
    open_slow();
    how.progress = cut_off;
    how.opaque = (void *)"a";
    cr_expect_eq(bm_compare(devs[0], devs[1], &how, &result, &err), -EIO);
    cr_expect_neq(err.what[0], '\0');
}

Test(compare, image_truncated_meanwhile_is_an_error)
{
    open_slow();
    how.progress = cut_off;
    how.opaque = (void *)"b";
    cr_expect_lt(bm_compare(devs[0], devs[1], &how, &result, &err), 0);
    cr_expect_neq(err.what[0], '\0');
}
