// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The rules of a merge: which image keeps its view, and what a run is. */
#include "tests/unit/merge-fixture.h"

static const struct bm_merge_options options;
static struct bm_merging m = {&domain,   &points, &tree,  &options,
                              points_go, may_go,  dropped};

/* NULL: nobody needs it. */
static const char *needed(int i)
{
    const char *why = "not set";
    bool is = bm_merging_is_needed(&m, i, &why);

    cr_expect_eq(is, why != NULL);
    return why;
}

TestSuite(merge_rules);

Test(merge_rules, a_layer_among_others_is_not_needed)
{
    draw(3, (const int[]){-1, 0, 1});
    cr_expect_null(needed(1));
}

Test(merge_rules, what_a_disk_stands_on_is_needed)
{
    draw(3, (const int[]){-1, 0, 1});
    cr_expect_str_eq(needed(2), "a disk stands on it");
}

Test(merge_rules, what_somebody_else_stands_on_is_needed)
{
    draw(2, (const int[]){-1, 0});
    images[0].other = (char *)"domain x";
    cr_expect_str_eq(needed(0), "domain x");
}

Test(merge_rules, what_cannot_be_read_is_needed)
{
    draw(2, (const int[]){-1, 0});
    images[0].broken = (char *)"no header";
    cr_expect_str_eq(needed(0), "it cannot be read");
    images[0].broken = NULL;
    images[0].there = false;
    cr_expect_str_eq(needed(0), "it cannot be read");
}

Test(merge_rules, the_state_of_a_point_is_needed_until_it_goes)
{
    draw(2, (const int[]){-1, 0});
    add_point("s1", 0);
    cr_expect_str_eq(needed(0), "s1");
    points_go[0] = true;
    cr_expect_null(needed(0));
}

Test(merge_rules, a_disk_comes_before_all_other_reasons)
{
    draw(2, (const int[]){-1, 0});
    add_point("s1", 1);
    images[1].other = (char *)"domain x";
    images[1].there = false;
    cr_expect_str_eq(needed(1), "a disk stands on it");
    images[1].top = false;
    cr_expect_str_eq(needed(1), "domain x");
    images[1].other = NULL;
    cr_expect_str_eq(needed(1), "it cannot be read");
}

Test(merge_rules, one_with_two_on_it_must_stay)
{
    const char *why;

    draw(3, (const int[]){-1, 0, 0});
    cr_expect(bm_merging_must_stay(&m, 0, &why));
    cr_expect_str_eq(why, "several images stand on it");
    dropped[1] = true;
    cr_expect_not(bm_merging_must_stay(&m, 0, &why));
}

Test(merge_rules, whose_the_other_one_is_gets_said)
{
    const char *why;

    draw(3, (const int[]){-1, 0, 0});
    images[1].other = (char *)"domain x";
    cr_expect(bm_merging_must_stay(&m, 0, &why));
    cr_expect_str_eq(why, "domain x");
}

Test(merge_rules, what_is_dropped_stands_on_nothing)
{
    int one;

    draw(3, (const int[]){-1, 0, 0});
    cr_expect_eq(bm_merging_over(&m, 0, &one), 2);
    dropped[2] = true;
    cr_expect_eq(bm_merging_over(&m, 0, &one), 1);
    cr_expect_eq(one, 1);
    dropped[1] = true;
    cr_expect_eq(bm_merging_over(&m, 0, &one), 0);
    cr_expect_eq(one, -1);
}

Test(merge_rules, a_run_begins_at_its_lowest)
{
    draw(4, (const int[]){-1, 0, 1, 2});
    may_go[1] = may_go[2] = true;
    cr_expect_eq(bm_merging_run(&m, 0), -1);
    cr_expect_eq(bm_merging_run(&m, 1), 3);
    cr_expect_eq(bm_merging_run(&m, 2), -1);
    cr_expect_eq(bm_merging_run(&m, 3), -1);
}

Test(merge_rules, a_run_without_an_upper_end_is_none)
{
    draw(2, (const int[]){-1, 0});
    may_go[0] = may_go[1] = true;
    cr_expect_eq(bm_merging_run(&m, 0), -1);
}

Test(merge_rules, what_is_dropped_is_no_base)
{
    draw(2, (const int[]){-1, 0});
    may_go[0] = dropped[0] = true;
    cr_expect_eq(bm_merging_run(&m, 0), -1);
}
