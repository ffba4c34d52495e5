// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which images of a domain a snapshot command merges. */
#include "nbd/base/units.h"
#include "tests/unit/merge-fixture.h"

static struct bm_merge_options delete_of(const char *name)
{
    return (struct bm_merge_options){
        .verb = "delete", .name = name, .keep = -1};
}

Test(merge_choose, the_layer_above_goes_into_the_image_of_the_point)
{
    const struct bm_merge_options options = delete_of("s2");

    draw(4, (const int[]){-1, 0, 1, 2});
    add_point("s1", 0);
    add_point("s2", 1);
    add_point("s3", 2);
    cr_assert_eq(choose(&options), 0);
    cr_assert_eq(run_of(&options, 1), 2);
    cr_assert_eq(run_of(&options, 0), -1);
    cr_assert_eq(run_of(&options, 2), -1);
}

Test(merge_choose, an_image_with_two_on_it_is_not_written)
{
    const struct bm_merge_options options = delete_of("s1");

    draw(3, (const int[]){-1, 0, 0});
    add_point("s1", 0);
    add_point("left", 1);
    cr_assert_eq(choose(&options), 0);
    cr_assert(points_go[0]);
    cr_assert_eq(run_of(&options, 0), -1);
}

Test(merge_choose, nor_one_that_somebody_else_needs)
{
    const struct bm_merge_options options = delete_of("s1");

    draw(2, (const int[]){-1, 0});
    images[0].other = (char *)"domain x";
    add_point("s1", 0);
    cr_assert_eq(choose(&options), 0);
    cr_assert_eq(run_of(&options, 0), -1);
}

Test(merge_choose, what_nothing_stands_on_is_dropped)
{
    const struct bm_merge_options options = delete_of("left");

    draw(3, (const int[]){-1, 0, 0});
    add_point("s1", 0);
    add_point("left", 1);
    cr_assert_eq(choose(&options), 0);
    cr_assert(dropped[1]);
    cr_assert_eq(run_of(&options, 0), -1);
}

Test(merge_choose, two_points_on_one_image_and_one_stays)
{
    const struct bm_merge_options options = delete_of("s1");

    draw(2, (const int[]){-1, 0});
    add_point("s1", 0);
    add_point("twin", 0);
    cr_assert_eq(choose(&options), 0);
    cr_assert_eq(run_of(&options, 0), -1);
}

Test(merge_choose, consolidate_keeps_the_newest_and_merges_runs)
{
    const struct bm_merge_options options = {.verb = "consolidate", .keep = 1};

    draw(5, (const int[]){-1, 0, 1, 2, 3});
    add_point("s1", 0);
    add_point("s2", 1);
    add_point("s3", 2);
    add_point("s4", 3);
    cr_assert_eq(choose(&options), 0);
    cr_assert_not(points_go[3]);
    /* s4's state, of image 3, goes into the base with all between */
    cr_assert_eq(run_of(&options, 0), 3);
}

Test(merge_choose, a_clock_that_was_set_back_makes_no_point_the_oldest)
{
    const struct bm_merge_options options = {.verb = "consolidate", .keep = 1};

    draw(4, (const int[]){-1, 0, 1, 2});
    add_point("s1", 0);
    add_point("s2", 1);
    add_point("s3", 2);
    points_list[1].parent = (char *)"s1";
    points_list[2].parent = (char *)"s2";
    points_list[2].created_s = -1;
    cr_assert_eq(choose(&options), 0);
    cr_assert(points_go[0] && points_go[1]);
    cr_assert_not(points_go[2]);
}

Test(merge_choose, a_base_without_a_name_may_be_a_template)
{
    struct bm_merge_options options = {.verb = "consolidate", .keep = -1};

    draw(3, (const int[]){-1, 0, 1});
    cr_assert_eq(choose(&options), 0);
    cr_assert_eq(run_of(&options, 0), -1);
    cr_assert_eq(run_of(&options, 1), 2);
    options.force = true;
    draw(3, (const int[]){-1, 0, 1});
    cr_assert_eq(choose(&options), 0);
    cr_assert_eq(run_of(&options, 0), 2);
}

Test(merge_choose, depth_lets_the_oldest_points_go_and_no_more)
{
    const struct bm_merge_options options = {
        .verb = "consolidate", .keep = -1, .depth = 3};

    draw(5, (const int[]){-1, 0, 1, 2, 3});
    add_point("s1", 0);
    add_point("s2", 1);
    add_point("s3", 2);
    add_point("s4", 3);
    cr_assert_eq(choose(&options), 0);
    cr_assert(points_go[0] && points_go[1]);
    cr_assert_not(points_go[2] || points_go[3]);
    cr_assert_eq(run_of(&options, 0), 2);
}

Test(merge_choose, depth_that_cannot_be_had_is_refused)
{
    const struct bm_merge_options options = {
        .verb = "consolidate", .keep = -1, .depth = 1, .force = true};

    draw(2, (const int[]){-1, 0});
    images[0].other = (char *)"domain x";
    cr_assert_eq(choose(&options), -EBUSY);
}

/* --- what was asked for --- */

Test(merge_choose, a_point_that_is_not_there_is_refused)
{
    const struct bm_merge_options options = delete_of("s9");

    draw(2, (const int[]){-1, 0});
    add_point("s1", 0);
    cr_expect_eq(choose(&options), -ENOENT);
    cr_expect_eq(err.status, BM_EXIT_REFUSED);
    cr_expect_neq(strstr(err.what, "has no snapshot s9"), NULL, "%s", err.what);
    cr_expect_not(points_go[0]);
}

Test(merge_choose, a_point_goes_without_its_children)
{
    const struct bm_merge_options options = delete_of("s1");

    draw(3, (const int[]){-1, 0, 1});
    add_point("s1", 0);
    add_point("s2", 1);
    points_list[1].parent = (char *)"s1";
    cr_assert_eq(choose(&options), 0);
    cr_expect(points_go[0]);
    cr_expect_not(points_go[1]);
}

Test(merge_choose, children_go_with_it_when_asked_for)
{
    struct bm_merge_options options = delete_of("s2");

    draw(4, (const int[]){-1, 0, 1, 2});
    add_point("s1", 0);
    add_point("s2", 1);
    add_point("s3", 2);
    points_list[1].parent = (char *)"s1";
    points_list[2].parent = (char *)"s2";
    options.children = true;
    cr_assert_eq(choose(&options), 0);
    cr_expect_not(points_go[0]);
    cr_expect(points_go[1] && points_go[2]);
    cr_expect_eq(run_of(&options, 1), 3);
}

Test(merge_choose, a_deleted_point_merges_no_layer_without_a_name)
{
    const struct bm_merge_options options = delete_of("s3");

    draw(4, (const int[]){-1, 0, 1, 2});
    add_point("s3", 2);
    cr_assert_eq(choose(&options), 0);
    cr_expect_eq(run_of(&options, 1), -1);
    cr_expect_eq(run_of(&options, 2), 3);
}

Test(merge_choose, consolidate_without_a_name_merges_every_layer_between)
{
    const struct bm_merge_options options = {.verb = "consolidate", .keep = -1};

    draw(4, (const int[]){-1, 0, 1, 2});
    cr_assert_eq(choose(&options), 0);
    cr_expect_eq(run_of(&options, 1), 3);
}

Test(merge_choose, points_older_than_that_go)
{
    const struct bm_merge_options options = {
        .verb = "consolidate", .keep = -1, .older_than_ms = 3600000};

    draw(3, (const int[]){-1, 0, 1});
    add_point("old", 0);
    add_point("young", 1);
    points_list[1].created_s = bm_wall_ms() / 1000;
    cr_assert_eq(choose(&options), 0);
    cr_expect(points_go[0]);
    cr_expect_not(points_go[1]);
}

Test(merge_choose, internal_points_neither_count_nor_go)
{
    const struct bm_merge_options options = {
        .verb = "consolidate", .keep = 1, .older_than_ms = 3600000};

    draw(3, (const int[]){-1, 0, 1});
    add_point("internal", 0);
    add_point("young", 1);
    points_list[0].memory_internal = true;
    points_list[1].created_s = bm_wall_ms() / 1000;
    cr_assert_eq(choose(&options), 0);
    cr_expect_not(points_go[0] || points_go[1]);
}

Test(merge_choose, keep_none_lets_all_go)
{
    const struct bm_merge_options options = {.verb = "consolidate", .keep = 0};

    draw(3, (const int[]){-1, 0, 1});
    add_point("s1", 0);
    add_point("s2", 1);
    cr_assert_eq(choose(&options), 0);
    cr_expect(points_go[0] && points_go[1]);
    cr_expect_eq(run_of(&options, 0), 2);
}

Test(merge_choose, another_disk_is_left_alone)
{
    struct bm_merge_options options = {
        .verb = "consolidate", .keep = -1, .disk = "vdb"};

    draw(3, (const int[]){-1, 0, 1});
    cr_assert_eq(choose(&options), 0);
    cr_expect_eq(run_of(&options, 1), -1);
    options.disk = "vda";
    cr_assert_eq(choose(&options), 0);
    cr_expect_eq(run_of(&options, 1), 2);
}

/* --- depth --- */

Test(merge_choose, a_template_that_may_be_one_is_named_as_the_obstacle)
{
    const struct bm_merge_options options = {
        .verb = "consolidate", .keep = -1, .depth = 1};

    draw(2, (const int[]){-1, 0});
    cr_expect_eq(choose(&options), -EBUSY);
    cr_expect_eq(err.status, BM_EXIT_REFUSED);
    cr_expect_str_eq(err.cause, "2 stay");
    cr_expect_neq(strstr(err.remedy, "--force"), NULL, "%s", err.remedy);
}

Test(merge_choose, who_needs_an_image_is_named_as_the_obstacle)
{
    const struct bm_merge_options options = {
        .verb = "consolidate", .keep = -1, .depth = 1, .force = true};

    draw(2, (const int[]){-1, 0});
    images[0].other = (char *)"domain x";
    cr_expect_eq(choose(&options), -EBUSY);
    cr_expect_str_eq(err.cause, "2 stay; /i0 must: domain x");
    cr_expect_neq(strstr(err.remedy, "flatten"), NULL, "%s", err.remedy);
}

Test(merge_choose, a_depth_that_is_there_lets_nothing_go)
{
    const struct bm_merge_options options = {
        .verb = "consolidate", .keep = -1, .depth = 2};

    draw(2, (const int[]){-1, 0});
    add_point("s1", 0);
    cr_assert_eq(choose(&options), 0);
    cr_expect_not(points_go[0]);
}
