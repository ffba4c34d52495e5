// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Mapfiles read and written: ddrescue, ddrescuelog and nbdkit's filter are the
 * oracles of the format. */
#include "tests/unit/mapfile-fixture.h"

static void put(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");

    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

/* The text is no map of SIZE bytes, and the cause says this. */
static void refused(const char *text, const char *why)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_mapfile *map = NULL;

    put("bad", text);
    cr_expect_eq(bm_mapfile_load("bad", SIZE, &map, &err), -EBADMSG, "%s",
                 text);
    cr_expect(strstr(err.cause, why), "\"%s\" instead of \"%s\"", err.cause,
              why);
    cr_expect_null(map);
}

/* --- our files, by others --- */

Test(mapfile, ddrescuelog_takes_ours)
{
    make_sample("m");
    sh("ddrescuelog -t m >out");
    sh("grep -Eq 'rescued: +1035 kB.*' out || { cat out; false; }");
    cr_expect_eq(fixture_status("ddrescuelog -q --done-status m"), 1);
    cr_expect_str_eq(fixture_word("ddrescuelog -l- m"), "128");
    cr_expect_str_eq(fixture_word("ddrescuelog -l/ m | wc -l"), "8");
}

Test(mapfile, ddrescuelog_says_it_is_done)
{
    BM_MAPFILE *map = bm_mapfile_new(UINT64_C(1) << 42);

    must_set(map, 0, map->size, BM_AREA_FINISHED);
    map->phase = '+';
    map->current = map->size;
    must_save(map, "m");
    sh("ddrescuelog --done-status m");
}

/* Reads 512 bytes at offset by nbdkit's filter over our map: its exit status.
 */
static int filter_read(uint64_t offset)
{
    return fixture_status(
        "nbdkit -U - --filter=ddrescue memory 1M ddrescue-mapfile=m "
        "--run 'qemu-io -r -f raw -c \"read %llu 512\" \"$uri\"' >/dev/null",
        (unsigned long long)offset);
}

Test(mapfile, nbdkit_takes_ours)
{
    make_sample("m");
    cr_expect_eq(filter_read(0), 0);
    cr_expect_neq(filter_read(65536), 0);
    cr_expect_eq(filter_read(65536 + 512), 0);
    cr_expect_neq(filter_read(262144), 0);
}

Test(mapfile, columns_are_aligned_for_large_images)
{
    BM_MAPFILE *map = bm_mapfile_new(UINT64_C(1) << 44);

    must_set(map, UINT64_C(1) << 43, 512, BM_AREA_BAD);
    must_save(map, "m");
    cr_expect_str_eq(fixture_word("grep -v '^#' m | tail -n +2 | "
                                  "awk '{print length($0)}' | sort -u | wc -l"),
                     "1");
    sh("ddrescuelog -t m >/dev/null");
}

/* --- the files of others, by us --- */

/* Its map of a disk with 1536 bad bytes at 69632. */
static struct bm_mapfile *left_by_ddrescue(const char *options)
{
    sh("head -c 1M /dev/urandom >disk && printf '%%s\\n' '0 + 1' '0 69632 +' "
       "'69632 1536 -' '71168 977408 +' >truth && "
       "ddrescue -q %s -H truth disk out m",
       options);
    return must_load("m", SIZE);
}

static struct bm_mapfile *read_as_map(const char *text, uint64_t size)
{
    put("m", text);
    return must_load("m", size);
}

Test(mapfile, what_ddrescue_wrote)
{
    BM_MAPFILE *map = left_by_ddrescue("");
    cr_expect(map->phase == '+' && map->n == 3);
    cr_expect_eq(bm_mapfile_bytes(map, BM_AREA_BAD), 1536);
    cr_expect(map->areas[1].offset == 69632 &&
              map->areas[1].status == BM_AREA_BAD);
}

Test(mapfile, what_ddrescue_left_half_done)
{
    BM_MAPFILE *map = left_by_ddrescue("-n -N");
    cr_expect_gt(bm_mapfile_bytes(map, BM_AREA_UNTRIMMED), 0);
    cr_expect_eq(bm_mapfile_bytes(map, BM_AREA_BAD), 0);
}

Test(mapfile, what_ddrescuelog_created)
{
    BM_MAPFILE *map = NULL, *inverted = NULL;

    sh("printf '3\\n4\\n9\\n' | ddrescuelog -b 512 -s 1Mi -c m");
    map = must_load("m", SIZE);
    cr_expect_eq(bm_mapfile_bytes(map, BM_AREA_FINISHED), 3 * 512);
    cr_expect_eq(bm_mapfile_get(map, 4 * 512), BM_AREA_FINISHED);
    cr_expect_eq(bm_mapfile_get(map, 5 * 512), BM_AREA_BAD);
    sh("ddrescuelog -n m >inverted");
    inverted = must_load("inverted", SIZE);
    cr_expect_eq(bm_mapfile_bytes(inverted, BM_AREA_FINISHED), SIZE - 3 * 512);
}

Test(mapfile, reads_all_forms_of_numbers)
{
    BM_MAPFILE *map = read_as_map("# a comment\n"
                                  "\n"
                                  "  0x20 * # here too\n"
                                  "\t0 010 +\t# octal\n"
                                  "8 8 ?\r\n"
                                  "0X10 0xF0 -\n",
                                  256);
    cr_expect(map->current == 32 && map->phase == '*' && map->pass == 1);
    cr_expect_eq(map->n, 3);
    cr_expect_eq(map->areas[1].offset, 8);
    cr_expect_eq(map->areas[2].offset, 16);
    cr_expect_eq(map->areas[2].status, BM_AREA_BAD);
}

Test(mapfile, reads_the_pass)
{
    BM_MAPFILE *map = read_as_map("0 ? 4\n0 10 +\n", 10);
    cr_expect_eq(map->pass, 4);
}

Test(mapfile, what_it_does_not_cover_is_untried)
{
    BM_MAPFILE *map = read_as_map("0 + 1\n2 2 +\n4 2 -", 8);
    cr_expect_str_eq(drawn(map, 1), "\?\?++--\?\?");
}

Test(mapfile, joins_areas_that_are_alike)
{
    BM_MAPFILE *map = read_as_map("0 + 1\n0 2 +\n2 2 +\n4 4 +\n", 8);
    cr_expect_eq(map->n, 1);
}

Test(mapfile, refuses_areas_that_do_not_fit)
{
    refused("0 + 1\n0 512 +\n\n1024 512 -\n", "line 4: there is a gap");
    refused("0 + 1\n0 1024 +\n512 1024 -\n", "line 3: the area overlaps");
    refused("0 + 1\n0 0x100001 +\n", "line 2: the area goes beyond");
    refused("0 + 1\n0 1 +\n1 0xffffffffffffffff +\n", "beyond");
    refused("0 + 1\n0 512 +\n512 0 +\n", "line 3: the area is empty");
}

Test(mapfile, refuses_what_is_no_map)
{
    refused("", "there is no map");
    refused("# only comments\n", "there is no map");
    refused("hello\n", "line 1");
    refused("0 x 1\n", "line 1: the status is unknown");
    refused("0 ? 0\n", "pass");
    refused("0 ? 0x1\n", "line 1");
    refused("0 ? 1 1\n", "line 1");
    refused("-1 ? 1\n", "line 1");
    refused("0 + 1\n0 512\n", "line 2");
    refused("0 + 1\n0 512 ++\n", "line 2");
    refused("0 + 1\n0 512 F\n", "line 2: the status is unknown");
    refused("0 + 1\n0 08 +\n", "line 2");
    refused("0 + 1\n0 99999999999999999999 +\n", "line 2");
}

Test(mapfile, refuses_what_was_cut_within_a_line)
{
    refused("0 + 1\n0x0 0x1000 +\n0x1000 0x20", "line 3");
}

Test(mapfile, refuses_binary_garbage)
{
    struct bm_error err = BM_ERROR_INIT;
    BM_MAPFILE *map = NULL;

    for (int i = 0; i < 20; i++) {
        sh("head -c 100000 /dev/urandom >bad");
        cr_expect_eq(bm_mapfile_load("bad", SIZE, &map, &err), -EBADMSG);
    }
    sh("printf '0 + 1\\n0 512 +\\0\\n' >bad");
    cr_expect_eq(bm_mapfile_load("bad", SIZE, &map, &err), -EBADMSG);
    sh("truncate -s 1T bad");
    cr_expect_eq(bm_mapfile_load("bad", SIZE, &map, &err), -EBADMSG);
}

Test(mapfile, tells_a_missing_file_and_a_fifo)
{
    struct bm_error err = BM_ERROR_INIT;
    BM_MAPFILE *map = NULL;

    cr_expect_eq(bm_mapfile_load("none", SIZE, &map, &err), -ENOENT);
    sh("mkfifo fifo");
    cr_expect_eq(bm_mapfile_load("fifo", SIZE, &map, &err), -EBADMSG);
}

/* --- saving --- */

Test(mapfile, round_trip_keeps_all)
{
    BM_MAPFILE *map = NULL, *again = NULL;

    make_sample("m");
    map = must_load("m", SIZE);
    cr_expect(map->phase == '*' && map->current == 65536 && map->pass == 1);
    cr_expect_str_eq(bm_mapfile_noted(map, "source"), "nbd://a b # c");
    must_save(map, "n");
    again = must_load("n", SIZE);
    same_maps(map, again);
    sh("cmp m n");
}

Test(mapfile, save_leaves_no_temporary_file)
{
    struct bm_error err = BM_ERROR_INIT;
    BM_MAPFILE *map = bm_mapfile_new(SIZE);

    must_save(map, "m");
    must_save(map, "m");
    sh("mkdir d && touch d/x");
    cr_expect_lt(bm_mapfile_save(map, "d", &err), 0);
    cr_expect_eq(bm_mapfile_save(map, "none/m", &err), -ENOENT);
    cr_expect_str_eq(fixture_word("ls -A | wc -l"), "2");
}
