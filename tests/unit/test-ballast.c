// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The files that hold a reserve of room for the guest. */
#include "blockmig/run/ballast.h"

#include "tests/unit/run-fixture.h"

/* Two disks in m, a file system of 64 MiB. */
static void begin(void)
{
    run_begin(BM_STRATEGY_STAGED, 2);
    move_to_small_store(64);
}

TestSuite(ballast, .init = begin, .fini = run_end);

static const char *ballast(const char *folder)
{
    char name[64];

    snprintf(name, sizeof name, "%s/.blockmig-%s-ballast", folder, job->id);
    return at(name);
}

static off_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_size : -1;
}

Test(ballast, one_for_all_disks_on_a_file_system)
{
    sh("mkdir m/b");
    free(job->disks[1].fixed.source_overlay_dir);
    bm_job_fill_disk(&job->disks[1])->source_overlay_dir = strdup(at("m/b"));
    ok(bm_ballast_make(&run, &err), err);
    cr_expect_eq(size_of(ballast("m")), 16 << 20);
    cr_expect_not(exists(ballast("m/b")));
}

Test(ballast, one_on_each_file_system)
{
    sh("mkdir m/b && mount -t tmpfs -o size=32M none m/b");
    free(job->disks[1].fixed.source_overlay_dir);
    bm_job_fill_disk(&job->disks[1])->source_overlay_dir = strdup(at("m/b"));
    ok(bm_ballast_make(&run, &err), err);
    cr_expect_eq(size_of(ballast("m")), 16 << 20);
    cr_expect_eq(size_of(ballast("m/b")), 16 << 20);
}

Test(ballast, where_the_switch_overlay_will_stand_too)
{
    sh("mkdir m/b && mount -t tmpfs -o size=32M none m/b");
    bm_job_fill_disk(&job->disks[0])->switch_overlay = strdup(at("m/b/o"));
    ok(bm_ballast_make(&run, &err), err);
    cr_expect(exists(ballast("m/b")));
}

Test(ballast, the_journal_knows_before)
{
    struct bm_job *stored;

    sh("dd if=/dev/zero of=m/full bs=1M 2>/dev/null || true");
    cr_expect_eq(bm_ballast_make(&run, &err), -ENOSPC);
    stored = stored_job();
    cr_expect(stored->guest.ballast);
    bm_job_free(stored);
}

Test(ballast, no_room_for_it_is_said)
{
    sh("dd if=/dev/zero of=m/full bs=1M 2>/dev/null || true");
    cr_expect_eq(bm_ballast_make(&run, &err), -ENOSPC);
    has(err.what, "cannot hold 16 MiB of room for the guest in ");
    has(err.remedy, "--overlay-dir");
}

Test(ballast, it_can_be_made_again)
{
    ok(bm_ballast_make(&run, &err), err);
    ok(bm_ballast_make(&run, &err), err);
    cr_expect_eq(size_of(ballast("m")), 16 << 20);
}

Test(ballast, all_of_it_goes)
{
    ok(bm_ballast_make(&run, &err), err);
    ok(bm_ballast_remove(&run, &err), err);
    cr_expect_not(exists(ballast("m")));
    ok(bm_ballast_remove(&run, &err), err);
}

Test(ballast, a_file_of_that_name_that_is_none_stays)
{
    sh("touch %s", ballast("m"));
    ok(bm_ballast_remove(&run, &err), err);
    cr_expect(exists(ballast("m")));
}
