// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a rescue reads, in which order, and what it writes. */
#include "tests/unit/rescue-fixture.h"

/* --- the source as it is --- */

Test(rescue, reads_a_sound_source_once_in_large_pieces)
{
    struct scene s;

    begin(&s, 16 * MIB, 1);
    must_run(&s);
    check_truth(&s);
    check_touches(&s, 1);
    cr_expect_eq(s.result.reads, 64);
    cr_expect_eq(s.result.errors, 0);
    cr_expect_eq(s.map->n, 1);
    end(&s);
}

Test(rescue, of_nothing)
{
    struct scene s;

    begin(&s, 0, 1);
    must_run(&s);
    cr_expect(s.result.reads == 0 && s.saves == 1);
    end(&s);
}

Test(rescue, finds_exactly_the_bad_sectors)
{
    for (unsigned seed = 1; seed <= 60; seed++) {
        struct scene s;

        begin(&s, 3 * MIB, seed);
        spoil_at_random(&s);
        must_run(&s);
        check_truth(&s);
        check_touches(&s, 2);
        end(&s);
    }
}

Test(rescue, of_a_ragged_size)
{
    for (unsigned seed = 1; seed <= 10; seed++) {
        struct scene s;

        begin(&s, MIB + 70000 + seed, seed);
        spoil_at_random(&s);
        if (seed % 2)
            spoil(&s, faulty_sectors(s.source) - 1, 1);
        must_run(&s);
        check_truth(&s);
        check_touches(&s, 2);
        end(&s);
    }
}

Test(rescue, when_nothing_can_be_read)
{
    struct scene s;

    begin(&s, MIB, 1);
    spoil(&s, 0, MIB / SECTOR);
    must_run(&s);
    check_truth(&s);
    check_touches(&s, 2);
    cr_expect_eq(s.map->n, 1);
    end(&s);
}

Test(rescue, large_sectors_are_bad_as_a_whole)
{
    struct scene s;

    begin(&s, MIB, 1);
    s.source->dev.sector = 4096;
    spoil(&s, 8 * 20 + 3, 1);
    must_run(&s);
    cr_expect_eq(s.result.bad, 4096);
    cr_expect_eq(bm_mapfile_get(s.map, 20 * 4096), BM_AREA_BAD);
    cr_expect_eq(bm_mapfile_get(s.map, 21 * 4096), BM_AREA_FINISHED);
    check_touches(&s, 2);
    end(&s);
}

/* The order of the phases is what a dying disk needs. */
Test(rescue, jumps_further_with_each_error_and_comes_back_later)
{
    static const uint64_t steps[] = {2, 3, 5, 9, 9};
    struct scene s;

    begin(&s, 64 * MIB, 1);
    s.source->dev.chunk = 65536;
    spoil(&s, 0, 1); /* from now on one request at a time */
    spoil(&s, 12 * 128, 32 * MIB / SECTOR);
    must_run(&s);
    check_truth(&s);
    check_touches(&s, 2);
    for (size_t i = 0; i < 5; i++)
        cr_expect_eq(s.source->log[13 + i] - s.source->log[12 + i],
                     steps[i] * 65536);
    end(&s);
}

/* What lies between two bad places is likely bad as well. */
Test(rescue, reads_beside_what_is_finished_first)
{
    struct scene s;

    begin(&s, 4 * MIB, 1);
    spoil(&s, 0, 1);
    spoil(&s, 2047, 1);
    spoil(&s, 4095, 1);
    bm_mapfile_set(s.map, 0, MIB / 2, BM_AREA_UNTRIMMED);
    bm_mapfile_set(s.map, MIB, MIB, BM_AREA_UNTRIMMED);
    bm_mapfile_set(s.map, 2 * MIB, MIB, BM_AREA_FINISHED);
    memcpy(s.target->data + 2 * MIB, s.source->data + 2 * MIB, MIB);
    s.map->pass = 3;
    must_run(&s);
    check_truth(&s);
    cr_expect_eq(s.source->log[0], 3 * MIB);
    cr_expect_eq(s.source->log[3], 3 * MIB + 3 * MIB / 4);
    cr_expect_eq(s.source->log[4], MIB / 2);
    end(&s);
}

/* From each edge up to the first bad sector; what is between them comes
 * last. */
Test(rescue, trims_both_edges_before_it_scrapes)
{
    struct scene s;
    const uint64_t *log;

    begin(&s, MIB, 1);
    s.source->dev.chunk = 65536;
    spoil(&s, 128 + 10, 1);
    spoil(&s, 128 + 100, 1);
    must_run(&s);
    check_truth(&s);
    log = s.source->log + 16;
    for (uint64_t i = 0; i <= 10; i++)
        cr_assert_eq(log[i], (128 + i) * SECTOR);
    for (uint64_t i = 0; i <= 27; i++)
        cr_assert_eq(log[11 + i], (255 - i) * SECTOR);
    for (uint64_t i = 0; i < 89; i++)
        cr_assert_eq(log[39 + i], (139 + i) * SECTOR);
    cr_expect_eq(s.result.reads, 16 + 128);
    end(&s);
}

/* Beside a bad sector there is no edge to trim. */
Test(rescue, does_not_trim_beside_a_bad_sector)
{
    struct scene s;

    begin(&s, MIB, 1);
    bm_mapfile_set(s.map, 0, MIB, BM_AREA_FINISHED);
    memcpy(s.target->data, s.source->data, MIB);
    bm_mapfile_set(s.map, 100 * SECTOR, SECTOR, BM_AREA_BAD);
    bm_mapfile_set(s.map, 101 * SECTOR, 9 * SECTOR, BM_AREA_UNTRIMMED);
    memset(s.target->data + 100 * SECTOR, UNTOUCHED, SECTOR);
    spoil(&s, 100, 1);
    spoil(&s, 107, 1);
    must_run(&s);
    cr_expect_eq(s.source->log[0], 109 * SECTOR);
    cr_expect_eq(s.source->log[2], 107 * SECTOR);
    cr_expect_eq(s.source->log[3], 101 * SECTOR);
    cr_expect_eq(s.result.reads, 9);
    end(&s);
}

Test(rescue, tries_bad_sectors_again)
{
    struct scene s;

    begin(&s, MIB, 1);
    s.rescue.retries = 3;
    spoil(&s, 100, 2);
    s.source->failures[500] = 3; /* the fourth time it can be read */
    s.source->failures[900] = 6;
    must_run(&s);
    cr_expect_eq(bm_mapfile_get(s.map, 500 * SECTOR), BM_AREA_FINISHED);
    cr_expect_eq(bm_mapfile_get(s.map, 900 * SECTOR), BM_AREA_BAD);
    cr_expect_eq(s.source->touched[100], 5);
    check_truth(&s);
    end(&s);
}

Test(rescue, leaves_what_is_slow_for_later)
{
    struct scene s;
    const uint64_t *log;

    begin(&s, 32 * MIB, 1);
    s.source->dev.chunk = 65536;
    s.source->slow_at = 20;
    s.rescue.min_rate = 1 << 20;
    must_run(&s);
    check_truth(&s);
    check_touches(&s, 1);
    log = s.source->log;
    /* Pieces come one after the other but where it was slow. */
    for (int i = 1, gaps = 0; i < 100; i++) {
        gaps += log[i] != log[i - 1] + 65536;
        cr_assert_leq(gaps, 1);
        if (i == 99)
            cr_expect_eq(gaps, 1);
    }
    end(&s);
}

/* --- zeroes --- */

Test(rescue, does_not_read_holes)
{
    struct scene s;

    begin(&s, 4 * MIB, 1);
    memset(s.source->data + MIB, 0, MIB);
    memset(s.source->hole + MIB / SECTOR, true, MIB / SECTOR);
    spoil(&s, 100, 1);
    must_run(&s);
    check_truth(&s); /* and the target, not new, was zeroed there */
    for (uint64_t i = MIB / SECTOR; i < 2 * MIB / SECTOR; i++)
        cr_assert_eq(s.source->touched[i], 0);
    end(&s);
}

/* Holes are what they are even if the disk is bad there. */
Test(rescue, random_holes_and_bad_sectors)
{
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct scene s;

        begin(&s, 2 * MIB, seed);
        spoil_at_random(&s);
        for (int i = 0; i < 5; i++) {
            uint64_t first = (uint64_t)random() % (MIB / SECTOR);
            uint64_t n = (uint64_t)random() % 700;

            memset(s.source->hole + first, true, n);
            memset(s.source->failures + first, 0, n);
            memset(s.source->data + first * SECTOR, 0, n * SECTOR);
        }
        must_run(&s);
        check_truth(&s);
        check_touches(&s, 2);
        end(&s);
    }
}

Test(rescue, writes_no_zeroes_to_a_new_target)
{
    struct scene s;

    begin(&s, 4 * MIB, 1);
    memset(s.target->data, 0, 4 * MIB);
    memset(s.target->durable, 0, 4 * MIB);
    memset(s.source->data + MIB, 0, 2 * MIB);
    memset(s.source->hole + MIB / SECTOR, true, MIB / SECTOR);
    s.target->dev.zeroed = true;
    must_run(&s);
    check_truth(&s);
    for (uint64_t i = MIB / SECTOR; i < 3 * MIB / SECTOR; i++)
        cr_assert_eq(s.target->written[i], 0);
    end(&s);
}

/* --- what was read, and how fast --- */

/* Notes what it is handed, by sectors. */
static uint8_t *handed;
static const struct scene *handed_by;

static int took(void *opaque, uint64_t offset, uint64_t length,
                const void *data, struct bm_error *err)
{
    const uint8_t *truth = handed_by->source->data + offset;

    for (uint64_t i = 0; i < length; i++) {
        handed[(offset + i) / SECTOR] = 1;
        cr_assert_eq(data ? ((const uint8_t *)data)[i] : 0, truth[i]);
    }
    return 0;
}

/* All that is finished was handed on, holes too, and nothing else. */
Test(rescue, hands_on_what_it_took)
{
    struct scene s;

    begin(&s, 4 * MIB, 1);
    memset(s.source->data + MIB, 0, MIB);
    memset(s.source->hole + MIB / SECTOR, true, MIB / SECTOR);
    spoil(&s, 7, 1);
    spoil(&s, 5000, 300);
    handed = calloc(1, 4 * MIB / SECTOR);
    handed_by = &s;
    s.rescue.took = took;
    must_run(&s);
    for (uint64_t i = 0; i < 4 * MIB / SECTOR; i++)
        cr_assert_eq(handed[i], !s.source->failures[i], "sector %lu", i);
    free(handed);
    end(&s);
}

Test(rescue, keeps_a_pace)
{
    struct scene s;
    int64_t start = bm_now_ms();

    begin(&s, 4 * MIB, 1);
    s.rescue.rate_limit = bm_rate_limit_new(8 * MIB);
    must_run(&s);
    check_truth(&s);
    cr_expect_gt(bm_now_ms() - start, 300);
    bm_rate_limit_free(s.rescue.rate_limit);
    end(&s);
}

/* --- what does not fit --- */

Test(rescue, refuses_what_does_not_fit)
{
    struct scene s;

    begin(&s, MIB, 1);
    s.target->dev.size--;
    cr_expect_eq(run(&s), -EINVAL);
    s.target->dev.size++;
    s.map->size--;
    cr_expect_eq(run(&s), -EINVAL);
    s.map->size++;
    s.target->dev.writable = false;
    cr_expect_eq(run(&s), -EINVAL);
    cr_expect_eq(s.source->reads, 0);
    end(&s);
}
