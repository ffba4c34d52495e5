// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What is equal and what differs. */
#include "nbd/compare/compare-ledger.h"
#include "nbd/base/units.h"
#include "tests/unit/compare-fixture.h"

static void expect_roots(const char *a, const char *b)
{
    cr_expect_str_eq(result.root_a, oracle(a));
    cr_expect_str_eq(result.root_b, oracle(b));
}

static void expect_range(size_t i, uint64_t offset, uint64_t length)
{
    cr_expect_eq(result.ranges[i].offset, offset);
    cr_expect_eq(result.ranges[i].length, length);
}

/* One range, and so a difference. */
static void expect_one_range(uint64_t offset, uint64_t length)
{
    cr_expect_not(result.equal);
    cr_assert_eq(result.n_ranges, 1);
    expect_range(0, offset, length);
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
    expect_roots("a", "b");
}

Test(compare, roots_of_equal_images)
{
    how.digests = true;
    sh("head -c 5000001 /dev/urandom >a && cp a b");
    compare_raw("a", "b");
    expect_roots("a", "a");
}

/* Islands of data, many ranges, a difference late and a unaligned longer side.
 */
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
    expect_roots("a", "b");
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
    expect_one_range(3 * 65536, 4 * 65536);
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
    struct bm_compare_range *data = bm_compare_range_new(20, 10, 0);
    struct bm_ledger ledger;

    data->differ[3] = true;
    ok(bm_ledger_start(&ledger, sizes, false, &result, &err), err);
    ok(bm_ledger_add(&ledger, bm_compare_range_new_zero(10, 5), &err), err);
    ok(bm_ledger_add(&ledger, bm_compare_range_new_zero(30, 10), &err), err);
    ok(bm_ledger_add(&ledger, bm_compare_range_new_zero(15, 5), &err), err);
    ok(bm_ledger_add(&ledger, data, &err), err);
    cr_expect_eq(ledger.held, 1);
    cr_expect_eq(result.n_ranges, 0);
    ok(bm_ledger_add(&ledger, bm_compare_range_new_zero(0, 10), &err), err);
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
    expect_roots("a", "b");
}

Test(compare, a_hole_that_ends_in_a_block)
{
    how.digests = true;
    sh("truncate -s 3000001 a b");
    compare_raw("a", "b");
    cr_expect(result.equal);
    expect_roots("a", "a");
}

/* --- sizes --- */

Test(compare, holes_of_different_size)
{
    sh("truncate -s 1M a && truncate -s 3M b");
    compare_raw("a", "b");
    expect_one_range(1 << 20, 2 << 20);
}

Test(compare, different_sizes_differ_by_their_tail)
{
    how.digests = true;
    sh("head -c 1M /dev/urandom >a && cp a b && truncate -s 3M b");
    compare_raw("a", "b");
    cr_expect_not(result.equal);
    cr_expect_eq(result.size, 3 << 20);
    expect_one_range(1 << 20, 2 << 20);
    expect_roots("a", "b");
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
    expect_one_range(15 * 65536, 1000963 - 15 * 65536);
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
    expect_roots("a", "b");
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
