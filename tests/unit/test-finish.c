// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The end of a job, either way: its state, its exit status, its words. */
#include "blockmig/engine/engine-private.h"
#include "blockmig/strategy/strategy.h"
#include "tests/unit/run-fixture.h"

static int work_returns;

static int work(struct bm_run *of, struct bm_error *why)
{
    (void)of;
    return work_returns ? bm_fail_errno(why, -work_returns, "it failed") : 0;
}

static const struct bm_strategy_ops fake = {.release = work, .roll_back = work};

static void begin(void)
{
    run_begin(BM_STRATEGY_BLOCKCOPY, 2);
    run.ops = &fake;
    bm_job_set_state(job, BM_STATE_RELEASING);
}

TestSuite(finish, .init = begin, .fini = run_end);

static int count_claims(void)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int n;

    cr_assert_eq(sqlite3_open("state/jobs.sqlite", &db), SQLITE_OK);
    cr_assert_eq(
        sqlite3_prepare_v2(db, "SELECT count(*) FROM claim", -1, &stmt, NULL),
        SQLITE_OK);
    cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW);
    n = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

Test(finish, a_released_job_is_done)
{
    ok(bm_engine_released(&run, &err), err);
    cr_expect_eq(stored_state(), BM_STATE_DONE);
    cr_expect_eq(job->result.exit_status, BM_EXIT_DONE);
    cr_expect_null(job->result.error);
    cr_expect_str_eq(told, "done\n");
}

Test(finish, its_claims_end)
{
    cr_assert_gt(count_claims(), 0);
    ok(bm_engine_released(&run, &err), err);
    cr_expect_eq(count_claims(), 0);
}

Test(finish, its_time_is_written_down)
{
    struct bm_job *stored;

    job->created_ms = bm_wall_ms() - 5000;
    ok(bm_engine_released(&run, &err), err);
    stored = stored_job();
    cr_expect_neq(stored->result.ended_ms, 0);
    cr_expect(stored->result.total_ms >= 5000 &&
              stored->result.total_ms < 60000);
    bm_job_free(stored);
}

Test(finish, bytes_that_could_not_be_read_are_its_exit_status)
{
    job->disks[0].rescue.unreadable_bytes = 512;
    job->disks[1].rescue.unreadable_bytes = 1024;
    ok(bm_engine_released(&run, &err), err);
    cr_expect_eq(job->state, BM_STATE_DONE);
    cr_expect_eq(job->result.exit_status, BM_EXIT_UNREADABLE);
    cr_expect_eq(run.reason.code, EIO);
    has(job->result.error, "vm1 was moved but for 1536 bytes");
}

Test(finish, a_release_that_fails_does_not_end)
{
    work_returns = -ENOSPC;
    cr_expect_eq(bm_engine_released(&run, &err), -ENOSPC);
    cr_expect_eq(job->state, BM_STATE_RELEASING);
    cr_expect_str_empty(told);
}

Test(finish, an_end_that_cannot_be_written_is_none)
{
    break_store();
    cr_expect_lt(bm_engine_released(&run, &err), 0);
    cr_expect_eq(job->state, BM_STATE_RELEASING);
    cr_expect_str_empty(told);
}

Test(finish, what_was_rolled_back_ends_with_its_reason)
{
    bm_fail(&run.reason, ENOSPC, "no room");
    bm_status(&run.reason, BM_EXIT_FAILED);
    ok(bm_engine_rolled_back(&run, &err), err);
    cr_expect_eq(stored_state(), BM_STATE_ROLLED_BACK);
    cr_expect_eq(job->result.exit_status, BM_EXIT_FAILED);
    has(job->result.error, "no room");
}

Test(finish, a_failed_proof_is_its_exit_status)
{
    bm_fail(&run.reason, EBADMSG, "they differ");
    bm_status(&run.reason, BM_EXIT_PROOF);
    ok(bm_engine_rolled_back(&run, &err), err);
    cr_expect_eq(job->result.exit_status, BM_EXIT_PROOF);
}

Test(finish, without_a_reason_it_was_a_cancel)
{
    ok(bm_engine_rolled_back(&run, &err), err);
    cr_expect_eq(run.reason.code, ECANCELED);
    has(job->result.error, "the move of vm1 was rolled back");
}

Test(finish, a_way_back_that_fails_does_not_end)
{
    bm_job_set_state(job, BM_STATE_ROLLING_BACK);
    work_returns = -EBUSY;
    cr_expect_eq(bm_engine_rolled_back(&run, &err), -EBUSY);
    cr_expect_eq(job->state, BM_STATE_ROLLING_BACK);
}
