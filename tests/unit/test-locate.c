// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where a merge stands: by the chain of the disk. */
#include "blockmig/merge/locate.h"

#include "tests/unit/run-fixture.h"

static struct bm_job_merge merge;

/* vdb stands on /c, /b, /a; what was planned is c into b, or as drawn. */
static void begin(void)
{
    run_begin(BM_STRATEGY_MERGE, 2);
    make_domain(true);
    merge.target = (char *)"vdb";
}

static void end(void)
{
    bm_chain_clear(&merge.layers);
    run_end();
}

TestSuite(locate, .init = begin, .fini = end);

/* A chain of images with names of one letter. */
static void draw(struct bm_chain *chain, const char *names)
{
    bm_chain_clear(chain);
    for (; *names; names++) {
        const char path[] = {'/', *names, '\0'};

        cr_assert_eq(bm_chain_append(chain, BM_SOURCE_FILE, path, "qcow2"), 0);
    }
}

/* Negative: an error. */
static int look(const char *layers, const char *chain)
{
    enum bm_merge_at where = BM_MERGE_CHAIN;
    int rc;

    draw(&merge.layers, layers);
    draw(chain_of(1), chain);
    rc = bm_merge_look(&run, &merge, &where, &err);
    return rc ? rc : (int)where;
}

Test(locate, layers_of_the_disk_are_in_its_chain)
{
    cr_expect_eq(look("ba", "cba"), BM_MERGE_CHAIN);
    cr_expect_eq(look("cba", "cba"), BM_MERGE_CHAIN);
    cr_expect_eq(look("cb", "cba"), BM_MERGE_CHAIN);
}

Test(locate, layers_that_no_disk_stands_on_are_a_branch)
{
    cr_expect_eq(look("yx", "cba"), BM_MERGE_BRANCH);
}

Test(locate, a_base_without_them_has_taken_them)
{
    merge.begun = true;
    cr_expect_eq(look("cb", "ba"), BM_MERGE_MERGED);
    cr_expect_eq(look("cba", "a"), BM_MERGE_MERGED);
}

Test(locate, nobody_but_us_merges_them)
{
    cr_expect_eq(look("cb", "ba"), -ESTALE);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    has(err.cause, "on a chain that is not as planned");
}

Test(locate, some_of_them_are_no_chain_of_ours)
{
    merge.begun = true;
    cr_expect_eq(look("dcb", "cba"), -ESTALE); /* d is gone */
}

Test(locate, nor_are_all_of_them_with_another_between)
{
    merge.begun = true;
    cr_expect_eq(look("cba", "cbxa"), -ESTALE);
}

Test(locate, nor_in_another_order)
{
    merge.begun = true;
    cr_expect_eq(look("cba", "bca"), -ESTALE);
}

Test(locate, nor_above_a_base_that_is_gone)
{
    merge.begun = true;
    cr_expect_eq(look("cbx", "cba"), -ESTALE);
}

Test(locate, one_that_goes_as_it_is_has_no_base_to_go_to)
{
    cr_expect_eq(look("y", "cba"), BM_MERGE_BRANCH);
    cr_expect_eq(look("c", "cba"), BM_MERGE_CHAIN);
}

Test(locate, a_disk_that_is_gone_is_held)
{
    run.domain->n_disks = 1;
    draw(&merge.layers, "cb");
    cr_expect_eq(bm_merge_look(&run, &merge, &(enum bm_merge_at){0}, &err),
                 -ESTALE);
    run.domain->n_disks = 2;
}

Test(locate, the_merge_names_its_disk)
{
    cr_expect_eq(bm_merge_disk(job, &merge), 1);
    merge.target = (char *)"vda";
    cr_expect_eq(bm_merge_disk(job, &merge), 0);
}

Test(locate, a_position_is_counted_from_the_top)
{
    draw(chain_of(1), "cba");
    cr_expect_eq(bm_merge_position(chain_of(1), "/c"), 0);
    cr_expect_eq(bm_merge_position(chain_of(1), "/a"), 2);
    cr_expect_eq(bm_merge_position(chain_of(1), "/x"), 3);
}
