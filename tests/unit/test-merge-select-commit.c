// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What snapshot commit merges: from one layer down to another. */
#include "tests/unit/merge-fixture.h"

static struct bm_merge_options commit(const char *top, const char *base)
{
    return (struct bm_merge_options){
        .verb = "commit", .disk = "vda", .keep = -1, .top = top, .base = base};
}

static void refused(const struct bm_merge_options *options, int code,
                    const char *part)
{
    char line[2100];

    cr_expect_eq(choose(options), -code);
    cr_expect_eq(err.status, BM_EXIT_REFUSED);
    bm_error_line(&err, line, sizeof line);
    cr_expect_neq(strstr(line, part), NULL, "no '%s' in: %s", part, line);
}

TestSuite(merge_commit);

Test(merge_commit, from_the_active_layer_to_the_end_of_the_chain)
{
    const struct bm_merge_options options = commit(NULL, NULL);

    draw(4, (const int[]){-1, 0, 1, 2});
    cr_assert_eq(choose(&options), 0);
    cr_expect_eq(run_of(&options, 0), 3);
}

Test(merge_commit, from_a_path_to_a_path)
{
    const struct bm_merge_options options = commit("/i2", "/i1");

    draw(4, (const int[]){-1, 0, 1, 2});
    cr_assert_eq(choose(&options), 0);
    cr_expect_eq(run_of(&options, 1), 2);
    cr_expect_eq(run_of(&options, 0), -1);
}

Test(merge_commit, from_a_number_of_the_live_xml)
{
    const struct bm_merge_options options = commit("vda[7]", "/i0");

    draw(3, (const int[]){-1, 0, 1});
    cr_assert_eq(bm_chain_append(&disk.chain, BM_SOURCE_FILE, "/i1", "qcow2"),
                 0);
    disk.chain.layers[1].index = 7;
    cr_assert_eq(choose(&options), 0);
    cr_expect_eq(run_of(&options, 0), 1);
}

Test(merge_commit, a_disk_that_is_not_there_is_refused)
{
    struct bm_merge_options options = commit(NULL, NULL);

    draw(2, (const int[]){-1, 0});
    options.disk = "vdb";
    refused(&options, ENOENT, "has no disk vdb");
}

Test(merge_commit, a_disk_without_an_image_is_refused)
{
    const struct bm_merge_options options = commit(NULL, NULL);

    draw(2, (const int[]){-1, 0});
    bm_chain_clear(&disk.chain);
    refused(&options, ENOENT, "has no layer at all");
}

Test(merge_commit, a_layer_that_is_not_there_is_refused)
{
    const struct bm_merge_options top = commit("/i9", NULL);
    const struct bm_merge_options base = commit(NULL, "vda[9]");

    draw(2, (const int[]){-1, 0});
    refused(&top, ENOENT, "has no layer /i9");
    refused(&base, ENOENT, "has no layer vda[9]");
}

/* An image of the tree, but not below this disk. */
Test(merge_commit, a_layer_of_another_branch_is_refused)
{
    const struct bm_merge_options options = commit("/i1", NULL);

    draw(3, (const int[]){-1, 0, 0});
    refused(&options, ENOENT, "has no layer /i1");
}

Test(merge_commit, a_layer_is_not_merged_into_itself)
{
    const struct bm_merge_options options = commit("/i1", "/i1");

    draw(3, (const int[]){-1, 0, 1});
    refused(&options, EINVAL, "it stands on nothing, or on itself");
}

Test(merge_commit, nor_into_one_above_it)
{
    const struct bm_merge_options options = commit("/i0", "/i1");

    draw(3, (const int[]){-1, 0, 1});
    refused(&options, EINVAL, "the first does not stand on the second");
}

Test(merge_commit, a_point_on_the_way_is_in_the_way)
{
    const struct bm_merge_options options = commit(NULL, NULL);

    draw(3, (const int[]){-1, 0, 1});
    add_point("s1", 1);
    refused(&options, EBUSY, "it is restore point s1");
}

Test(merge_commit, unless_it_is_let_go_by_force)
{
    struct bm_merge_options options = commit(NULL, NULL);

    draw(3, (const int[]){-1, 0, 1});
    add_point("s1", 1);
    options.force = true;
    cr_assert_eq(choose(&options), 0);
    cr_expect(points_go[0]);
    cr_expect_eq(run_of(&options, 0), 2);
}

Test(merge_commit, a_point_above_the_way_stays)
{
    struct bm_merge_options options = commit("/i1", "/i0");

    draw(4, (const int[]){-1, 0, 1, 2});
    add_point("s2", 2);
    options.force = true;
    cr_assert_eq(choose(&options), 0);
    cr_expect_not(points_go[0]);
    cr_expect_eq(run_of(&options, 0), 1);
}

Test(merge_commit, force_takes_nothing_from_others)
{
    struct bm_merge_options options = commit(NULL, NULL);

    draw(3, (const int[]){-1, 0, 1});
    images[0].other = (char *)"domain x";
    options.force = true;
    refused(&options, EBUSY, "domain x");
}

Test(merge_commit, a_layer_with_two_on_it_is_in_the_way)
{
    const struct bm_merge_options options = commit(NULL, NULL);

    draw(4, (const int[]){-1, 0, 0, 1});
    refused(&options, EBUSY, "several images stand on it");
}
