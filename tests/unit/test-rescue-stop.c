// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A rescue that stops, and goes on by the map that was saved. */
#include "tests/unit/rescue-fixture.h"

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
