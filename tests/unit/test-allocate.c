// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The new images' files: made once, ours by their identity, and times. */
#include "blockmig/step/step.h"
#include "blockmig/step/written-since.h"
#include "tests/unit/run-fixture.h"

/* What is made now is younger than the job, by a coarse clock too. */
static void begin(void)
{
    run_begin_two();
    bm_sleep_ms(20);
}

TestSuite(allocate, .init = begin, .fini = run_end);

static uint64_t inode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* --- making them --- */

Test(allocate, each_disk_gets_a_file_that_the_journal_knows)
{
    struct bm_job *stored;

    make_host_at_source(true);
    ok(bm_step_allocate(&run, &err), err);
    stored = stored_job();
    cr_expect_eq(stored->disks[0].image.ino, inode_of("new/vda"));
    cr_expect_eq(stored->disks[1].image.ino, inode_of("new/vdb"));
    bm_job_free(stored);
}

Test(allocate, the_domain_gets_our_stamp)
{
    make_host_at_source(true);
    ok(bm_step_allocate(&run, &err), err);
    ok(bm_run_refresh(&run, &err), err);
    cr_assert(run.domain->stamp);
    has(run.domain->stamp, job->id);
    has(run.domain->stamp, bm_job_store_dir(run.jobs));
}

Test(allocate, it_can_be_done_again)
{
    uint64_t first;

    make_host_at_source(true);
    ok(bm_step_allocate(&run, &err), err);
    first = inode_of("new/vda");
    ok(bm_step_allocate(&run, &err), err);
    cr_expect_eq(inode_of("new/vda"), first);
}

Test(allocate, somebodys_file_is_left_alone)
{
    make_host_at_source(true);
    sh("echo precious >new/vdb");
    cr_expect_eq(bm_step_allocate(&run, &err), -EEXIST);
    cr_expect_not(job->disks[1].image.make_sent);
    sh("grep -q precious new/vdb");
}

/* Killed between making it and writing its identity down. */
Test(allocate, an_empty_one_of_a_dead_process_is_made_anew)
{
    make_host_at_source(true);
    sh("touch new/vda");
    job->disks[0].image.make_sent = true;
    ok(bm_step_allocate(&run, &err), err);
    cr_expect_eq(job->disks[0].image.ino, inode_of("new/vda"));
}

Test(allocate, without_the_domain_nothing_is_made)
{
    make_host_without();
    cr_expect_eq(bm_step_allocate(&run, &err), -ENOENT);
    cr_expect_not(exists("new/vda"));
}

/* --- ours --- */

static bool ours(void)
{
    return bm_target_is_ours(job, &job->disks[0], 0);
}

Test(allocate, a_file_is_ours_by_its_identity)
{
    make_new_image(0);
    cr_expect(ours());
    sh("mv new/vda new/x && truncate -s %u new/vda", RUN_SIZE);
    cr_expect_not(ours());
}

Test(allocate, an_empty_one_that_was_announced_is_ours)
{
    sh("touch new/vda");
    cr_expect_not(ours());
    job->disks[0].image.make_sent = true;
    cr_expect(ours());
}

Test(allocate, one_that_holds_anything_is_not)
{
    job->disks[0].image.make_sent = true;
    sh("echo x >new/vda");
    cr_expect_not(ours());
}

Test(allocate, nor_one_that_is_older_than_the_job)
{
    job->disks[0].image.make_sent = true;
    sh("touch new/vda");
    job->created_ms = bm_wall_ms() + 60000;
    cr_expect_not(ours());
}

Test(allocate, nor_a_link)
{
    job->disks[0].image.make_sent = true;
    sh("touch new/x && ln -s x new/vda");
    cr_expect_not(ours());
}

/* --- still there --- */

Test(allocate, a_file_that_is_the_one_we_made_is_well)
{
    make_new_image(0);
    ok(bm_target_check(&job->disks[0], &err), err);
}

Test(allocate, another_one_of_its_name_is_held)
{
    make_new_image(0);
    sh("mv new/vda new/x && touch new/vda");
    cr_expect_eq(bm_target_check(&job->disks[0], &err), -ESTALE);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    has(err.cause, "new/vda is not the file any more that was made for it");
}

/* Nobody made it. */
Test(allocate, a_device_is_not_looked_at)
{
    bm_job_fill_disk(&job->disks[0])->dest_block = true;
    ok(bm_target_check(&job->disks[0], &err), err);
}

/* A chain that is kept: each of its layers gets a file. */
Test(allocate, a_layer_below_is_checked_too)
{
    struct bm_job_disk *disk = &job->disks[0];

    make_new_image(0);
    cr_assert_eq(
        bm_chain_append(&disk->dest, BM_SOURCE_FILE, at("new/base"), "raw"), 0);
    disk->below = 1;
    disk->lower = calloc(1, sizeof *disk->lower);
    disk->n_lower = 1;
    cr_expect_eq(bm_target_check(disk, &err), -ESTALE);
    has(err.cause, "new/base");
    sh("touch new/base");
    disk->lower[0].make_sent = true;
    cr_expect(bm_target_is_ours(job, disk, 1));
}

/* --- written since --- */

static bool written(bool by_us)
{
    return bm_target_written_since(&job->disks[0], 0, by_us);
}

Test(allocate, what_nobody_wrote_to_has_its_time)
{
    make_new_image(0);
    bm_target_keep_time(&job->disks[0], 0);
    cr_expect_not(written(false));
    cr_expect_not(written(true));
}

Test(allocate, a_write_is_seen)
{
    make_new_image(0);
    bm_target_keep_time(&job->disks[0], 0);
    bm_sleep_ms(20);
    sh("echo x >>new/vda");
    cr_expect(written(false));
    cr_expect(written(true));
}

Test(allocate, a_time_that_was_set_back_is_seen_while_it_is_ours_alone)
{
    make_new_image(0);
    bm_target_keep_time(&job->disks[0], 0);
    bm_sleep_ms(20);
    sh("touch -r new/vda ref && echo x >>new/vda && touch -r ref new/vda");
    cr_expect(written(true));
    cr_expect_not(written(false));
}

Test(allocate, one_that_is_gone_was_written_to)
{
    make_new_image(0);
    bm_target_keep_time(&job->disks[0], 0);
    sh("rm new/vda");
    cr_expect(bm_target_any_written_since(&job->disks[0], false));
}
