// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where the source overlays of a move stand, by what its folders show; and what
 * strategy it gets then. */
#include "blockmig/plan/overlay-placement.h"
#include "blockmig/plan/strategy-select.h"
#include "tests/unit/file-fixture.h"

static struct bm_job *job;
static struct bm_datastore store;
static struct bm_move_options options;
static char obstacle[512];

/* A disk of 1 MiB in old/, to a store new/. */
static void set_up(void)
{
    fixture_setup();
    sh("mkdir old new && truncate -s 1M old/a");
    job = bm_job_new();
    job->n_disks = 1;
    job->disks = calloc(1, sizeof *job->disks);
    cr_assert(job->disks);
    job->disks->target = strdup("vda");
    bm_job_fill_disk(job->disks)->capacity = 1 << 20;
    cr_assert_eq(bm_chain_append(&job->disks->source, BM_SOURCE_FILE,
                                 at("old/a"), "raw"),
                 0);
    store = (struct bm_datastore){.path = strdup(at("new"))};
    options = (struct bm_move_options){.domain = "vm1",
                                       .strategy = "auto",
                                       .format = "keep",
                                       .overlay_on = "auto",
                                       .proof = true};
}

static void tear_down(void)
{
    bm_job_free(job);
    free(store.path);
    file_teardown();
}

TestSuite(overlay_placement, .init = set_up, .fini = tear_down);

static void place(void)
{
    struct bm_error err = BM_ERROR_INIT;

    ok(bm_place_choose(job, &store, &options, obstacle, sizeof obstacle, &err),
       err);
}

#define has(text, part)                                                        \
    cr_expect_neq(strstr((text), (part)), NULL, "no '%s' in: %s", part, text)

Test(overlay_placement, a_source_that_takes_them_gets_them)
{
    place();
    cr_expect_not(job->plan.on_target);
    cr_expect_str_empty(obstacle);
    cr_expect_str_eq(job->plan.place_why,
                     "the source takes writes and has room");
}

Test(overlay_placement, a_source_that_is_gone_leaves_them_to_the_target)
{
    sh("rm old/a");
    place();
    cr_expect(job->plan.on_target);
    cr_expect_str_empty(obstacle);
    has(job->plan.place_why, "the source takes no writes: ");
}

Test(overlay_placement, a_rescue_leaves_the_source_alone)
{
    options.rescue = true;
    place();
    cr_expect(job->plan.on_target);
    cr_expect_str_eq(job->plan.place_why, "the source gives errors");
}

Test(overlay_placement, a_target_that_is_gone_is_no_way_out)
{
    sh("rmdir new");
    options.rescue = true;
    place();
    cr_expect_not(job->plan.on_target);
    cr_expect_str_empty(obstacle);
    cr_expect_str_eq(job->plan.place_why, "the target cannot hold them");
}

Test(overlay_placement, two_stores_that_cannot_are_an_obstacle)
{
    sh("rm old/a && rmdir new");
    place();
    cr_expect_not(job->plan.on_target);
    has(obstacle, "the source takes no writes: ");
}

Test(overlay_placement, a_device_has_no_folder)
{
    job->disks->source.layers[0].type = BM_SOURCE_BLOCK;
    options.overlay_on = "source";
    place();
    has(obstacle, "vda stands in no folder");
}

Test(overlay_placement, a_device_as_target_holds_none)
{
    store.kind = BM_DATASTORE_BLOCK;
    options.overlay_on = "target";
    place();
    cr_expect(job->plan.on_target);
    has(obstacle, "is a device, and holds no overlay");
}

Test(overlay_placement, a_folder_that_is_named_must_be_there)
{
    options.overlay_dir = at("none");
    place();
    cr_expect_not(job->plan.on_target);
    has(obstacle, "no overlay can be made in ");
    has(obstacle, "No such file or directory");
}

Test(overlay_placement, a_folder_that_is_named_is_taken)
{
    options.overlay_dir = at("new");
    place();
    cr_expect_str_empty(obstacle);
    cr_expect_str_eq(job->plan.place_why, "--overlay-dir names the folder");
}

Test(overlay_placement, room_for_the_whole_disk_or_512_mib)
{
    cr_expect_eq(bm_place_reserve(job->disks), 1U << 20);
    bm_job_fill_disk(job->disks)->capacity = UINT64_C(1) << 40;
    cr_expect_eq(bm_place_reserve(job->disks), 512U << 20);
}

Test(overlay_placement, too_little_room_is_an_obstacle)
{
    need_mount("tmpfs", "size=1M");
    options.overlay_dir = at("m");
    place();
    has(obstacle, "has too little room for overlays: under ");
}

/* --- the strategy --- */

static const struct bm_domain running = {.active = true};

static int choose(struct bm_error *err)
{
    return bm_choose_strategy(job, &running, &store, &options, err);
}

Test(overlay_placement, what_is_in_the_way_of_overlays_leads_to_blockcopy)
{
    struct bm_error err = BM_ERROR_INIT;

    sh("rm old/a && rmdir new");
    ok(choose(&err), err);
    cr_expect_eq(job->plan.strategy, BM_STRATEGY_BLOCKCOPY);
    has(job->plan.why, "the source takes no writes: ");
}

Test(overlay_placement, a_device_is_copied_by_blockcopy)
{
    struct bm_error err = BM_ERROR_INIT;

    job->disks->source.layers[0].type = BM_SOURCE_BLOCK;
    ok(choose(&err), err);
    cr_expect_eq(job->plan.strategy, BM_STRATEGY_BLOCKCOPY);
    cr_expect_not(job->plan.on_target);
    cr_expect_str_eq(job->plan.why,
                     "vda stands in no folder that could hold an overlay");
}

Test(overlay_placement, unless_a_place_for_its_overlay_is_named)
{
    struct bm_error err = BM_ERROR_INIT;

    job->disks->source.layers[0].type = BM_SOURCE_BLOCK;
    options.overlay_on = "target";
    ok(choose(&err), err);
    cr_expect_eq(job->plan.strategy, BM_STRATEGY_STAGED);
    cr_expect(job->plan.on_target);
}

Test(overlay_placement, a_rescue_without_a_place_is_refused)
{
    struct bm_error err = BM_ERROR_INIT;
    char line[2100];

    sh("rm old/a && rmdir new");
    options.rescue = true;
    cr_expect_eq(choose(&err), -EINVAL);
    cr_expect_eq(err.status, BM_EXIT_REFUSED);
    bm_error_line(&err, line, sizeof line);
    has(line, "cannot move vm1 with --on-read-error rescue: ");
    has(line, "the source takes no writes: ");
    has(line, "--overlay-dir");
}

Test(overlay_placement, a_refused_option_is_named)
{
    struct bm_error err = BM_ERROR_INIT;
    char line[2100];

    options.strategy = "pull";
    options.source_delete = true;
    cr_expect_eq(choose(&err), -EINVAL);
    bm_error_line(&err, line, sizeof line);
    has(line, "cannot move by pull with --source delete: ");
    has(line, "use --strategy staged, or leave --source delete out");
}

Test(overlay_placement, a_pull_is_not_proven)
{
    struct bm_error err = BM_ERROR_INIT;

    bm_job_fill_request(job)->proof = true;
    options.strategy = "pull";
    ok(choose(&err), err);
    cr_expect_eq(job->plan.strategy, BM_STRATEGY_PULL);
    cr_expect_not(job->request.proof);
}
