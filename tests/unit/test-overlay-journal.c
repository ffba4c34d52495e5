// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The journal of overlays: what was asked for, and what was seen of it. */
#include "blockmig/run/overlay-journal.h"

#include "tests/unit/run-fixture.h"

/* Two disks, each to get a source overlay or a switch overlay. */
static void begin(void)
{
    run_begin(BM_STRATEGY_STAGED, 2);
    for (size_t i = 0; i < 2; i++)
        bm_job_fill_disk(&job->disks[i])->switch_overlay =
            strdup(at(i ? "new/o2" : "new/o1"));
}

TestSuite(overlay_journal, .init = begin, .fini = run_end);

static size_t unseen(enum bm_overlay_side which)
{
    return bm_overlay_journal_count_unseen(job, which);
}

Test(overlay_journal, what_nobody_asked_for_is_not_missed)
{
    cr_expect_eq(unseen(BM_OVERLAY_SOURCE), 0);
    cr_expect_eq(unseen(BM_OVERLAY_SWITCH), 0);
}

Test(overlay_journal, what_is_asked_for_is_unseen_and_written_down)
{
    struct bm_job *stored;

    ok(bm_overlay_journal_begin(&run, BM_OVERLAY_SWITCH, &err), err);
    ok(bm_overlay_journal_expect(&run, BM_OVERLAY_SWITCH, &err), err);
    cr_expect_eq(unseen(BM_OVERLAY_SWITCH), 2);
    stored = stored_job();
    cr_expect(stored->guest.top_asked);
    bm_job_free(stored);
}

Test(overlay_journal, a_source_overlay_is_known_by_its_number)
{
    char *path, want[64];

    ok(bm_overlay_journal_begin(&run, BM_OVERLAY_SOURCE, &err), err);
    job->staged.overlays_sent = 3;
    ok(bm_overlay_journal_expect(&run, BM_OVERLAY_SOURCE, &err), err);
    cr_expect_eq(unseen(BM_OVERLAY_SOURCE), 2);
    path = bm_overlay_journal_asked_for(job, 1, BM_OVERLAY_SOURCE);
    snprintf(want, sizeof want, "old/.blockmig-%s-vdb-13.qcow2", job->id);
    cr_expect_str_eq(path, at(want));
    free(path);
}

Test(overlay_journal, a_switch_overlay_is_known_by_its_name)
{
    char *path = bm_overlay_journal_asked_for(job, 1, BM_OVERLAY_SWITCH);

    cr_expect_str_eq(path, at("new/o2"));
    free(path);
}

/* The freeze of a pull is the new image itself. */
Test(overlay_journal, of_a_pull_it_is_the_new_image)
{
    char *path;

    bm_job_fill_plan(job)->strategy = BM_STRATEGY_PULL;
    path = bm_overlay_journal_asked_for(job, 1, BM_OVERLAY_SWITCH);
    cr_expect_str_eq(path, at("new/vdb"));
    free(path);
}

Test(overlay_journal, what_both_xmls_name_is_seen)
{
    struct bm_chain chain = {0};

    make_domain(true);
    ok(bm_overlay_journal_expect(&run, BM_OVERLAY_SWITCH, &err), err);
    cr_assert_eq(bm_chain_overlay(&job->disks[0], &chain), 0);
    put_disk(0, &chain);
    bm_chain_clear(&chain);
    bm_overlay_journal_see(&run);
    cr_expect(bm_overlay_journal_is_seen(job, 0, BM_OVERLAY_SWITCH));
    cr_expect_not(bm_overlay_journal_is_seen(job, 1, BM_OVERLAY_SWITCH));
    cr_expect_eq(unseen(BM_OVERLAY_SWITCH), 1);
}

Test(overlay_journal, what_the_live_xml_alone_names_is_not)
{
    struct bm_chain chain = {0};

    make_domain(true);
    ok(bm_overlay_journal_expect(&run, BM_OVERLAY_SWITCH, &err), err);
    cr_assert_eq(bm_chain_overlay(&job->disks[0], &chain), 0);
    bm_chain_clear(chain_of(0));
    *chain_of(0) = chain;
    bm_overlay_journal_see(&run);
    cr_expect_eq(unseen(BM_OVERLAY_SWITCH), 2);
}

Test(overlay_journal, the_next_freeze_begins_unasked)
{
    job->disks[0].overlays.freeze_seen = true;
    job->disks[0].overlays.below_ns = 7;
    job->guest.top_asked = true;
    ok(bm_overlay_journal_begin(&run, BM_OVERLAY_SWITCH, &err), err);
    cr_expect_not(job->guest.top_asked);
    cr_expect_not(job->disks[0].overlays.freeze_seen);
    cr_expect_eq(job->disks[0].overlays.below_ns, 0);
}

Test(overlay_journal, the_overlay_that_a_disk_stands_on_was_seen)
{
    add_source_overlay(0);
    add_source_overlay(1);
    job->staged.overlays_asked = 1;
    cr_expect_eq(unseen(BM_OVERLAY_SOURCE), 2);
    ok(bm_overlay_journal_begin(&run, BM_OVERLAY_SOURCE, &err), err);
    cr_expect_eq(job->disks[0].overlays.source_seen, 1);
    cr_expect_eq(unseen(BM_OVERLAY_SOURCE), 0);
}

Test(overlay_journal, what_cannot_be_written_is_not_asked_for)
{
    break_store();
    cr_expect_lt(bm_overlay_journal_begin(&run, BM_OVERLAY_SOURCE, &err), 0);
    cr_expect_lt(bm_overlay_journal_expect(&run, BM_OVERLAY_SOURCE, &err), 0);
}
