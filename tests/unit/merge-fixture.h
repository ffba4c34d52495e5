// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The images and restore points of a domain with one disk, for the tests of
 * what a snapshot command merges. The images are drawn as numbers: each one's
 * number of the one it stands on.
 */
#ifndef TESTS_UNIT_MERGE_FIXTURE_H
#define TESTS_UNIT_MERGE_FIXTURE_H

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

static inline void draw(size_t n, const int *below)
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
static inline void add_point(const char *name, size_t image)
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

static struct bm_error err;

static inline int choose(const struct bm_merge_options *options)
{
    struct bm_merging m = {&domain,   &points, &tree,  options,
                           points_go, may_go,  dropped};

    err = (struct bm_error)BM_ERROR_INIT;
    return bm_merging_choose(&m, &err);
}

/* The uppermost of the run whose base is that image; -1: none. */
static inline int run_of(const struct bm_merge_options *options, int base)
{
    struct bm_merging m = {&domain,   &points, &tree,  options,
                           points_go, may_go,  dropped};

    return bm_merging_run(&m, base);
}

#endif
