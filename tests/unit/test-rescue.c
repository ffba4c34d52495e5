// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/rescue.h"
#include "tests/unit/faulty-device.h"
#include "tests/unit/fixture.h"

TestSuite(rescue, .init = fixture_setup, .fini = fixture_teardown);

#define MIB (UINT64_C(1) << 20)
#define SECTOR FAULTY_SECTOR
#define UNTOUCHED 0xee /* what a target holds where nothing was written */

/* A source, a target, the map, and what happens meanwhile. */
struct scene {
    struct faulty *source, *target;
    struct bm_mapfile *map;
    struct bm_rescue rescue;
    struct bm_rescue_result result;
    struct bm_error err;
    unsigned saves;
    int cancel_after; /* calls of progress; negative: never */
};

/* What is finished must be on the medium of the target when the map is saved.
 */
static void check_durable(const struct scene *s)
{
    uint64_t offset = 0, length;

    for (; bm_mapfile_next(s->map, BM_AREA_FINISHED, offset, s->map->size,
                           &offset, &length);
         offset += length)
        cr_assert_eq(memcmp(s->target->durable + offset,
                            s->source->data + offset, length),
                     0, "the map that was saved lies at %lu", offset);
}

static int on_save(void *opaque, struct bm_error *err)
{
    struct scene *s = opaque;

    s->saves++;
    check_durable(s);
    return bm_mapfile_save(s->map, "map", err);
}

static int on_progress(void *opaque, const struct bm_mapfile *map)
{
    struct scene *s = opaque;

    return s->cancel_after >= 0 && s->cancel_after-- == 0;
}

/* A source of bytes that are nowhere zero. */
static void begin(struct scene *s, uint64_t size, unsigned seed)
{
    memset(s, 0, sizeof *s);
    srandom(seed);
    s->source = faulty_new(size, 0);
    s->target = faulty_new(size, UNTOUCHED);
    for (uint64_t i = 0; i < size; i++)
        s->source->data[i] = (uint8_t)((i * 2654435761u >> 24) | 1);
    s->map = bm_mapfile_new(size);
    s->cancel_after = -1;
    s->rescue = (struct bm_rescue){.source = &s->source->dev,
                                   .target = &s->target->dev,
                                   .map = s->map,
                                   .save = on_save,
                                   .progress = on_progress,
                                   .opaque = s};
}

static void end(struct scene *s)
{
    bm_device_close(&s->source->dev);
    bm_device_close(&s->target->dev);
    bm_mapfile_free(s->map);
}

static int run(struct scene *s)
{
    return bm_rescue_run(&s->rescue, &s->result, &s->err);
}

static void must_run(struct scene *s)
{
    ok(run(s), s->err);
    cr_assert_eq(s->map->phase, '+');
}

/* From now on the sectors of [first, first+n) cannot be read. */
static void spoil(struct scene *s, uint64_t first, uint64_t n)
{
    memset(s->source->failures + first, 255, n);
}

/* Some runs of bad sectors: few long ones, many short ones. */
static void spoil_at_random(struct scene *s)
{
    uint64_t sectors = faulty_sectors(s->source);
    int runs = (int)(random() % 12);

    for (int i = 0; i < runs; i++) {
        uint64_t first = (uint64_t)random() % sectors;
        uint64_t n = 1 + (uint64_t)random() % (random() % 3 ? 4 : 400);

        spoil(s, first, n < sectors - first ? n : sectors - first);
    }
}

static uint64_t sector_len(const struct scene *s, uint64_t sector)
{
    uint64_t left = s->map->size - sector * SECTOR;

    return left < SECTOR ? left : SECTOR;
}

/* What is bad is exactly what is bad, all else is on the target, and nothing
 * else was written there. */
static void check_truth(const struct scene *s)
{
    uint64_t bad = 0;

    for (uint64_t i = 0; i < faulty_sectors(s->source); i++) {
        bool is_bad = s->source->failures[i];
        const uint8_t *at_ = s->target->data + i * SECTOR;

        bad += is_bad ? sector_len(s, i) : 0;
        cr_assert_eq(bm_mapfile_get(s->map, i * SECTOR),
                     is_bad ? BM_AREA_BAD : BM_AREA_FINISHED, "sector %lu", i);
        if (is_bad)
            cr_assert(at_[0] == UNTOUCHED && !s->target->written[i]);
        else
            cr_assert_eq(
                memcmp(at_, s->source->data + i * SECTOR, sector_len(s, i)), 0,
                "sector %lu", i);
    }
    cr_assert_eq(s->result.bad, bad);
    cr_assert_eq(s->result.rescued, s->map->size - bad);
}

static void check_touches(const struct scene *s, unsigned most)
{
    for (uint64_t i = 0; i < faulty_sectors(s->source); i++)
        cr_assert_leq(s->source->touched[i], most, "sector %lu", i);
}

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

/* --- stopping and going on --- */

/* Takes up the map that was saved; what it finished is not read again. */
static void go_on(struct scene *s)
{
    uint64_t sectors = faulty_sectors(s->source);
    unsigned *before = malloc(sectors * sizeof *before);
    char *finished = malloc(sectors);

    bm_mapfile_free(s->map);
    ok(bm_mapfile_load("map", s->source->dev.size, &s->map, &s->err), s->err);
    s->rescue.map = s->map;
    memcpy(before, s->source->touched, sectors * sizeof *before);
    for (uint64_t i = 0; i < sectors; i++)
        finished[i] = bm_mapfile_get(s->map, i * SECTOR) == BM_AREA_FINISHED &&
                      bm_mapfile_get(s->map, i * SECTOR + sector_len(s, i) -
                                                 1) == BM_AREA_FINISHED;
    must_run(s);
    for (uint64_t i = 0; i < sectors; i++)
        cr_assert(!finished[i] || s->source->touched[i] == before[i]);
    free(before);
    free(finished);
}

Test(rescue, cancelled_it_can_go_on)
{
    struct scene s;

    begin(&s, 4 * MIB, 1);
    spoil(&s, 3000, 40);
    s.cancel_after = 0;
    cr_expect_eq(run(&s), -ECANCELED);
    cr_expect_eq(s.saves, 1);
    cr_expect_neq(s.map->phase, '+');
    go_on(&s);
    check_truth(&s);
    end(&s);
}

/* A connection lost at any request: nothing is marked as bad for it. */
Test(rescue, lost_anywhere_it_can_go_on)
{
    for (unsigned at_ = 1; at_ < 900; at_ += 1 + at_ / 8) {
        struct scene s;
        int rc;

        begin(&s, 2 * MIB, at_);
        spoil(&s, 1000, 3);
        spoil(&s, 1100, 1);
        spoil(&s, 2600, 200);
        s.source->lose_at = at_;
        rc = run(&s);
        cr_assert_eq(rc, s.source->reads >= at_ ? -ENOTCONN : 0);
        for (uint64_t i = 0; i < faulty_sectors(s.source); i++)
            if (!s.source->failures[i])
                cr_assert_neq(bm_mapfile_get(s.map, i * SECTOR), BM_AREA_BAD);
        cr_assert_geq(s.saves, 1);
        s.source->lose_at = 0;
        go_on(&s);
        check_truth(&s);
        end(&s);
    }
}

/* An error of a request that is no bad sector stops, and marks nothing. */
static void stops_at(int error)
{
    struct scene s;

    begin(&s, MIB, 1);
    spoil(&s, 700, 1);
    s.source->error = error;
    cr_expect_eq(run(&s), -error);
    cr_expect_eq(bm_mapfile_bytes(s.map, BM_AREA_BAD), 0);
    cr_expect_eq(bm_mapfile_bytes(s.map, BM_AREA_UNTRIMMED), 0);
    cr_expect_eq(bm_mapfile_get(s.map, 700 * SECTOR), BM_AREA_UNTRIED);
    cr_expect_eq(s.saves, 1);
    end(&s);
}

Test(rescue, stops_at_errors_that_are_no_bad_sectors)
{
    stops_at(EINVAL);
    stops_at(ENOTCONN);
    stops_at(ETIMEDOUT);
    stops_at(ESHUTDOWN);
    stops_at(ENXIO);
    stops_at(EPERM);
}

Test(rescue, knows_other_names_of_bad_sectors)
{
    static const int errors[] = {EREMOTEIO, ENODATA, EILSEQ};

    for (size_t i = 0; i < 3; i++) {
        struct scene s;

        begin(&s, MIB, 1);
        spoil(&s, 700, 1);
        s.source->error = errors[i];
        must_run(&s);
        check_truth(&s);
        end(&s);
    }
}

Test(rescue, goes_on_from_any_phase)
{
    static const char phases[] = "?*/-+FG";

    for (unsigned seed = 1; seed <= 60; seed++) {
        struct scene s;

        begin(&s, 2 * MIB, seed);
        spoil_at_random(&s);
        for (uint64_t i = 0; i < faulty_sectors(s.source); i += 64) {
            uint64_t at_ = (i + (uint64_t)random() % 64) * SECTOR;
            const enum bm_area kinds[] = {BM_AREA_UNTRIED, BM_AREA_UNTRIMMED,
                                          BM_AREA_UNSCRAPED};

            bm_mapfile_set(s.map, at_, (uint64_t)random() % 99 * SECTOR,
                           kinds[random() % 3]);
        }
        s.map->phase = phases[random() % 7];
        s.map->pass = 1 + (unsigned)random() % 7;
        s.map->current = (uint64_t)random() % (3 * MIB);
        must_run(&s);
        check_truth(&s);
        check_touches(&s, 2);
        end(&s);
    }
}

Test(rescue, goes_on_where_ddrescue_was)
{
    for (int i = 0; i < 3; i++) {
        static const char *const options[] = {"-n -N", "-n", "-i 1M -s 500k"};
        struct scene s;
        FILE *disk;
        int got;

        begin(&s, 4 * MIB, 1);
        spoil(&s, 136, 3);
        spoil(&s, 4000, 1);
        disk = fopen("disk", "w");
        cr_assert_eq(fwrite(s.source->data, 4 * MIB, 1, disk), 1);
        fclose(disk);
        sh("printf '%%s\\n' '0 + 1' '0 69632 +' '69632 1536 -' "
           "'71168 1976832 +' '2048000 512 -' '2048512 2145792 +' >truth");
        sh("rm -f out map && ddrescue -q %s -H truth disk out map", options[i]);
        disk = fopen("out", "r");
        got = (int)fread(s.target->data, 1, 4 * MIB, disk);
        cr_assert_gt(got, 0);
        fclose(disk);
        memset(s.target->data + 69632, UNTOUCHED, 1536);
        memset(s.target->data + 2048000, UNTOUCHED, 512);
        go_on(&s);
        check_truth(&s);
        check_touches(&s, 2);
        end(&s);
    }
}

/* --- the target --- */

Test(rescue, stops_when_the_target_is_full)
{
    struct scene s;

    begin(&s, 4 * MIB, 1);
    s.target->fail_write_at = 5;
    cr_expect_eq(run(&s), -ENOSPC);
    cr_expect_eq(s.saves, 1);
    cr_expect_eq(s.result.rescued, 4 * 262144);
    s.target->fail_write_at = 0;
    go_on(&s);
    check_truth(&s);
    end(&s);
}

/* What was not flushed is not finished. */
Test(rescue, takes_back_what_could_not_be_flushed)
{
    struct scene s;

    begin(&s, 4 * MIB, 1);
    s.target->fail_flush = true;
    cr_expect_eq(run(&s), -EIO);
    cr_expect_eq(s.result.rescued, 0);
    cr_expect_eq(bm_mapfile_bytes(s.map, BM_AREA_UNTRIED), 4 * MIB);
    cr_expect_geq(s.saves, 1);
    s.target->fail_flush = false;
    go_on(&s);
    check_truth(&s);
    end(&s);
}

Test(rescue, takes_back_what_a_cut_off_source_said)
{
    struct scene s;

    begin(&s, MIB, 1);
    s.source->cut_off = true;
    cr_expect_eq(run(&s), -EIO);
    cr_expect_eq(s.result.rescued, 0);
    end(&s);
}

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
