// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which images of a domain a snapshot command merges. The images are drawn as
 * numbers: each one's number of the one it stands on.
 */
#include "blockmig/plan/merge-plan-private.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAX 8

/* 0 is the base, and the last one is what the disk stands on. */
static struct bm_tree_image images[MAX];
static struct bm_image_tree tree = {.list = images};
static struct bm_restore_point points_list[MAX];
static struct bm_restore_point_disk point_disks[MAX];
static struct bm_restore_points points = {points_list, 0};
static struct bm_disk disk;
static struct bm_domain domain = {.disks = &disk, .n_disks = 1};
static bool points_go[MAX], may_go[MAX], dropped[MAX];
static char paths[MAX][8];

static void draw(size_t n, const int *below)
{
    tree.n = n;
    points.n = 0;
    memset(images, 0, sizeof images);
    memset(points_list, 0, sizeof points_list);
    memset(points_go, 0, sizeof points_go);
    memset(may_go, 0, sizeof may_go);
    memset(dropped, 0, sizeof dropped);
    for (size_t i = 0; i < n; i++) {
        snprintf(paths[i], sizeof paths[i], "/i%zu", i);
        images[i].layer.path = paths[i];
        images[i].layer.format = (char *)"qcow2";
        images[i].below = below[i];
        images[i].there = true;
    }
    images[n - 1].top = true;
    disk.target = (char *)"vda";
    bm_chain_clear(&disk.chain);
    cr_assert_eq(
        bm_chain_append(&disk.chain, BM_SOURCE_FILE, paths[n - 1], "qcow2"), 0);
}

/* A restore point whose state is that image; older than those after it. */
static void add_point(const char *name, size_t image)
{
    struct bm_restore_point *point = &points_list[points.n];
    struct bm_restore_point_disk *d = &point_disks[points.n++];

    memset(d, 0, sizeof *d);
    d->external = true;
    d->target = (char *)"vda";
    d->image.layers = &images[image].layer;
    d->image.n = 1;
    point->name = (char *)name;
    point->created_s = (int64_t)points.n;
    point->disks = d;
    point->n_disks = 1;
}

static int choose(const struct bm_merge_options *options)
{
    struct bm_merging m = {&domain,   &points, &tree,  options,
                           points_go, may_go,  dropped};
    struct bm_error err = BM_ERROR_INIT;

    return bm_merging_choose(&m, &err);
}

/* The uppermost of the run whose base is that image; -1: none. */
static int run_of(const struct bm_merge_options *options, int base)
{
    struct bm_merging m = {&domain,   &points, &tree,  options,
                           points_go, may_go,  dropped};

    return bm_merging_run(&m, base);
}

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

Test(merge_choose, commit_is_refused_over_a_point_unless_forced)
{
    struct bm_merge_options options = {
        .verb = "commit", .disk = "vda", .keep = -1};

    draw(3, (const int[]){-1, 0, 1});
    add_point("s1", 1);
    cr_assert_eq(choose(&options), -EBUSY);
    options.force = true;
    cr_assert_eq(choose(&options), 0);
    cr_assert(points_go[0]);
    cr_assert_eq(run_of(&options, 0), 2);
}
