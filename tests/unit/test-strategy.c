// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Each strategy's way through its states, and the work that it has for them. */
#include "blockmig/run/pacing.h"
#include "blockmig/strategy/pull-steps.h"
#include "blockmig/strategy/staged-private.h"
#include "blockmig/strategy/strategy.h"
#include "tests/unit/run-fixture.h"

TestSuite(strategy, .init = run_begin_two, .fini = run_end);

/* The states from planned to releasing, as words. */
static const char *way(enum bm_strategy strategy)
{
    static char text[512];
    const struct bm_strategy_ops *ops;

    bm_job_fill_plan(job)->strategy = strategy;
    ops = bm_strategy_of(job);
    text[0] = '\0';
    for (bm_job_set_state(job, BM_STATE_PLANNED);
         job->state != BM_STATE_RELEASING && strlen(text) < 400;) {
        bm_job_set_state(job, bm_strategy_next(ops, job));
        strcat(strcat(text, text[0] ? " " : ""), bm_state_name(job->state));
    }
    return text;
}

/* --- the ways --- */

Test(strategy, blockcopy_proves_after_the_switch)
{
    cr_expect_str_eq(way(BM_STRATEGY_BLOCKCOPY),
                     "allocating copying ready switching proving-rest settled "
                     "consolidating releasing");
}

Test(strategy, blockcopy_without_a_proof_has_no_way_back)
{
    bm_job_fill_request(job)->proof = false;
    cr_expect_str_eq(way(BM_STRATEGY_BLOCKCOPY),
                     "allocating copying ready switching consolidating "
                     "releasing");
}

Test(strategy, staged_proves_before_the_switch_and_after)
{
    cr_expect_str_eq(way(BM_STRATEGY_STAGED),
                     "allocating freezing copying proving iterating converging "
                     "ready switching proving-rest settled consolidating "
                     "releasing");
}

Test(strategy, staged_of_a_guest_that_went_off_has_nothing_to_mirror)
{
    job->staged.off = true;
    cr_expect_str_eq(way(BM_STRATEGY_STAGED),
                     "allocating freezing copying proving iterating switching "
                     "consolidating releasing");
}

Test(strategy, staged_that_was_accepted_proves_no_rest)
{
    bm_job_fill_request(job)->proof = false;
    cr_expect_str_eq(way(BM_STRATEGY_STAGED),
                     "allocating freezing copying proving iterating converging "
                     "ready switching consolidating releasing");
}

Test(strategy, cold_proves_before_the_switch)
{
    cr_expect_str_eq(way(BM_STRATEGY_COLD),
                     "allocating copying proving switching releasing");
    bm_job_fill_request(job)->proof = false;
    cr_expect_str_eq(way(BM_STRATEGY_COLD),
                     "allocating copying switching releasing");
}

Test(strategy, a_pull_and_a_merge_never_settle)
{
    const char *want = "allocating freezing copying consolidating releasing";

    cr_expect_str_eq(way(BM_STRATEGY_PULL), want);
    cr_expect_str_eq(way(BM_STRATEGY_MERGE), want);
}

Test(strategy, snapshot_commands_have_one_step)
{
    cr_expect_str_eq(way(BM_STRATEGY_CREATE), "allocating freezing releasing");
    cr_expect_str_eq(way(BM_STRATEGY_REVERT), "allocating switching releasing");
    cr_expect_str_eq(way(BM_STRATEGY_VIEW),
                     "allocating freezing settled releasing");
}

/* From wherever. */
Test(strategy, undoing_leads_to_rolling_back)
{
    for (int i = 0; i < BM_STRATEGY_COUNT; i++) {
        bm_job_fill_plan(job)->strategy = (enum bm_strategy)i;
        bm_job_set_state(job, BM_STATE_UNDOING);
        cr_expect_eq(bm_strategy_next(bm_strategy_of(job), job),
                     BM_STATE_ROLLING_BACK);
    }
}

Test(strategy, what_was_planned_begins_with_allocating)
{
    bm_job_set_state(job, BM_STATE_PREFLIGHT);
    cr_expect_eq(bm_strategy_next(bm_strategy_of(job), job),
                 BM_STATE_ALLOCATING);
}

/* --- the work --- */

static bool has_work(const struct bm_strategy_ops *ops, enum bm_state state)
{
    switch (state) {
    case BM_STATE_FREEZING:
        return ops->freeze != NULL;
    case BM_STATE_COPYING:
        return ops->copy != NULL;
    case BM_STATE_PROVING:
        return ops->prove != NULL;
    case BM_STATE_ITERATING:
        return ops->iterate != NULL;
    case BM_STATE_CONVERGING:
        return ops->converge != NULL;
    case BM_STATE_SWITCHING:
        return ops->switch_over != NULL;
    case BM_STATE_PROVING_REST:
        return ops->prove_rest != NULL;
    case BM_STATE_CONSOLIDATING:
        return ops->consolidate != NULL;
    default: /* every strategy has it, or the engine */
        return true;
    }
}

Test(strategy, each_state_has_its_work)
{
    for (int i = 0; i < BM_STRATEGY_COUNT; i++) {
        const struct bm_strategy_ops *ops;

        bm_job_fill_plan(job)->strategy = (enum bm_strategy)i;
        ops = bm_strategy_of(job);
        for (const enum bm_state *s = ops->states; *s != BM_STATE_RELEASING;
             s++)
            cr_expect(has_work(ops, *s), "%s: %s",
                      bm_strategy_name((enum bm_strategy)i), bm_state_name(*s));
    }
}

/* A job that can be undone must know how. */
Test(strategy, what_settles_can_be_undone)
{
    for (int i = 0; i < BM_STRATEGY_COUNT; i++) {
        const struct bm_strategy_ops *ops;

        bm_job_fill_plan(job)->strategy = (enum bm_strategy)i;
        ops = bm_strategy_of(job);
        for (const enum bm_state *s = ops->states; *s != BM_STATE_RELEASING;
             s++)
            if (*s == BM_STATE_SETTLED && !ops->settle)
                cr_expect(ops->undo, "%s",
                          bm_strategy_name((enum bm_strategy)i));
    }
}

/* --- staged: a guest that goes off --- */

static void shut_off(void)
{
    cr_assert_eq(virDomainDestroy(run.domain->dom), 0);
}

Test(strategy, a_guest_that_went_off_on_its_old_images_is_copied)
{
    make_host_at_source(true);
    cr_expect_not(bm_staged_went_off(&run, -EIO));
    shut_off();
    cr_expect(bm_staged_went_off(&run, -EIO));
    cr_expect(bm_staged_off_at_source(&run));
}

Test(strategy, it_must_stand_there_with_all_its_disks)
{
    make_domain(false);
    cr_expect(bm_staged_off_at_source(&run));
    sh("truncate -s 1M new/vdb");
    put_disk(1, &job->disks[1].dest);
    cr_expect_not(bm_staged_off_at_source(&run));
}

Test(strategy, other_ways_to_stop_are_no_going_off)
{
    static const int codes[] = {0, ETIMEDOUT, ECANCELED, EAGAIN,
                                BM_NEEDS_OPERATOR};

    make_host_at_source(true);
    shut_off();
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        cr_expect_not(bm_staged_went_off(&run, -codes[i]), "%s",
                      strerror(codes[i]));
}

/* --- a pull: where its disks stand --- */

Test(strategy, a_pull_counts_its_disks)
{
    struct bm_chain chain = {0};
    const struct bm_chain *const chains[] = {&chain, &job->disks[1].dest};
    struct bm_pull_count count;

    cr_assert_eq(bm_chain_on_top(job->disks[0].dest.layers[0].path,
                                 &job->disks[0].source, &chain),
                 0);
    make_host(true, chains);
    ok(bm_pull_look(&run, &count, &err), err);
    cr_expect_eq(count.at_source, 0);
    cr_expect_eq(count.pulling, 1);
    cr_expect_eq(count.at_dest, 1);
    bm_chain_clear(&chain);
}

Test(strategy, a_disk_of_a_pull_elsewhere_is_held)
{
    struct bm_chain chain = {0};
    const struct bm_chain *const chains[] = {&chain, &job->disks[1].source};
    struct bm_pull_count count;

    cr_assert_eq(bm_chain_append(&chain, BM_SOURCE_FILE, at("old/x"), "raw"),
                 0);
    make_host(true, chains);
    cr_expect_eq(bm_pull_look(&run, &count, &err), -ESTALE);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    bm_chain_clear(&chain);
}

Test(strategy, a_pull_without_its_domain_looks_at_nothing)
{
    struct bm_pull_count count;

    make_host_without();
    cr_expect_eq(bm_pull_look(&run, &count, &err), -ENOENT);
}

/* --- cold: a whole copy, of a guest that is off --- */

static const struct bm_strategy_ops *cold(void)
{
    bm_job_fill_plan(job)->strategy = BM_STRATEGY_COLD;
    return bm_strategy_of(job);
}

Test(strategy, cold_copies_and_proves)
{
    make_host_at_source(false);
    sh("printf data | dd of=old/vda bs=1 seek=70000 conv=notrunc 2>/dev/null");
    ok(bm_step_allocate(&run, &err), err);
    bm_job_set_state(job, BM_STATE_COPYING);
    ok(cold()->copy(&run, &err), err);
    sh("cmp old/vda new/vda && cmp old/vdb new/vdb");
    cr_expect_eq(run.locked.n, 2);
    bm_job_set_state(job, BM_STATE_PROVING);
    ok(cold()->prove(&run, &err), err);
    cr_expect(job->disks[0].proof.proven && job->disks[1].proof.proven);
    bm_pacing_free(run.pacing);
}

Test(strategy, cold_does_not_copy_a_guest_that_runs)
{
    make_host_at_source(true);
    cr_expect_eq(cold()->copy(&run, &err), -EBUSY);
    has(err.cause, "the guest was started");
    cr_expect_eq(run.locked.n, 0);
}

Test(strategy, cold_copies_again_what_was_not_held)
{
    make_host_at_source(false);
    bm_job_set_state(job, BM_STATE_SWITCHING);
    cr_expect_eq(cold()->switch_over(&run, &err), -EAGAIN);
    cr_expect_eq(stored_state(), BM_STATE_COPYING);
}
