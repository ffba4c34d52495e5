// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The life of a job as a command or a worker leads it: with a real job store,
 * a strategy that only writes down what it is asked, and no libvirt.
 */
#include "blockmig/engine/launch.h"
#include "blockmig/strategy/strategy.h"
#include "tests/unit/job-fixture.h"

TestSuite(launch, .init = set_up, .fini = tear_down);

/* --- the fake strategy --- */

static char done[256];       /* the work that was done, in its order */
static const char *fails_in; /* the work that fails, or NULL */
static int fails_with;
static bool cancel;

static int work(struct bm_run *run, const char *name, struct bm_error *err)
{
    strcat(strcat(done, done[0] ? " " : ""), name);
    if (!fails_in || strcmp(fails_in, name) != 0)
        return 0;
    fails_in = NULL;
    bm_fail(err, -fails_with, "%s of %s", name, run->job->domain);
    return fails_with;
}

#define WORK(name)                                                             \
    static int name(struct bm_run *run, struct bm_error *err)                  \
    {                                                                          \
        return work(run, #name, err);                                          \
    }
WORK(allocate)
WORK(copy)
WORK(switch_over)
WORK(consolidate)
WORK(release)
WORK(roll_back)

static const enum bm_state states[] = {
    BM_STATE_ALLOCATING,    BM_STATE_COPYING,   BM_STATE_SWITCHING,
    BM_STATE_CONSOLIDATING, BM_STATE_RELEASING,
};
static const struct bm_strategy_ops fake = {
    .states = states,
    .allocate = allocate,
    .copy = copy,
    .switch_over = switch_over,
    .consolidate = consolidate,
    .release = release,
    .roll_back = roll_back,
};

/* --- what a command gives --- */

static void on_progress(void *opaque, const struct bm_job *job,
                        const struct bm_progress *progress)
{
    (void)opaque, (void)job, (void)progress;
}

static void on_event(void *opaque, const struct bm_job *job, const char *text)
{
    (void)opaque, (void)job, (void)text;
}

static bool on_cancelled(void *opaque)
{
    (void)opaque;
    return cancel;
}

static const struct bm_run_hooks hooks = {
    .progress = on_progress, .event = on_event, .cancelled = on_cancelled};

static const char *refuse_for; /* what the check refuses, or NULL */
static int ready_returns;

static int check(void *opaque, struct bm_preflight *list, struct bm_error *err)
{
    (void)opaque, (void)err;
    return refuse_for ? bm_preflight_add(list, BM_REFUSE, refuse_for, "vda",
                                         "mend it", "it is not well")
                      : 0;
}

static int ready(void *opaque, struct bm_error *err)
{
    (void)opaque;
    return ready_returns ? bm_fail_errno(err, -ready_returns, "cannot listen")
                         : 0;
}

/* --- one life --- */

static struct bm_job_store *jobs;
static struct bm_job *job;
static struct bm_launch launch;
static struct bm_error err;
static int lock;

static void begin(void)
{
    jobs = open_store();
    job = new_job("u1", make_file("source"), make_file("dest"));
    launch = (struct bm_launch){
        .engine = {.jobs = jobs, .job = job, .hooks = &hooks, .ops = &fake},
        .check = check,
        .ready = ready};
    err = (struct bm_error)BM_ERROR_INIT;
    done[0] = '\0';
}

static void end(void)
{
    if (lock >= 0)
        bm_job_run_unlock(jobs, job->id, lock);
    bm_job_free(job);
    bm_job_store_close(jobs);
}

static int run(bool *ran)
{
    cr_assert_eq(bm_launch_claim(&launch, &lock, &err), 0, "%s", err.cause);
    return bm_launch_run(&launch, ran, &err);
}

/* What the store knows of the job. */
static enum bm_state stored_state(void)
{
    struct bm_job *stored = NULL;
    enum bm_state state;

    cr_assert_eq(bm_job_store_load(jobs, job->id, &stored, NULL), 0);
    state = stored->state;
    bm_job_free(stored);
    return state;
}

Test(launch, a_job_does_the_work_of_all_its_states)
{
    bool ran = false;

    begin();
    cr_expect_eq(run(&ran), 0, "%s: %s", err.what, err.cause);
    cr_expect(ran);
    cr_expect_str_eq(done, "allocate copy switch_over consolidate release");
    cr_expect_eq(stored_state(), BM_STATE_DONE);
    cr_expect_eq(bm_launch_result(job, 0, &err), BM_EXIT_DONE);
    end();
}

Test(launch, a_refused_job_leaves_no_trace)
{
    bool ran = true;
    int rc;

    begin();
    refuse_for = "room";
    rc = run(&ran);
    cr_expect_lt(rc, 0);
    cr_expect_eq(err.status, BM_EXIT_REFUSED);
    cr_expect_not(ran);
    cr_expect_str_empty(done);
    cr_expect_eq(count_jobs(jobs), 0);
    end();
}

Test(launch, a_job_that_nobody_can_reach_is_forgotten)
{
    bool ran = true;

    begin();
    ready_returns = -EADDRINUSE;
    cr_expect_eq(run(&ran), -EADDRINUSE);
    cr_expect_not(ran);
    cr_expect_eq(count_jobs(jobs), 0);
    end();
}

Test(launch, a_cancel_before_it_runs_touches_nothing)
{
    bool ran = true;

    begin();
    cancel = true;
    cr_expect_eq(run(&ran), -ECANCELED);
    cr_expect_not(ran);
    cr_expect_str_empty(done);
    cr_expect_eq(count_jobs(jobs), 0);
    end();
}

Test(launch, a_disk_has_one_job)
{
    struct bm_launch second;
    int other = 0;

    begin();
    cr_assert_eq(bm_launch_claim(&launch, &lock, &err), 0);
    second = launch;
    second.engine.job = new_job("u1", in_dir("source"), in_dir("other"));
    cr_expect_eq(bm_launch_claim(&second, &other, &err), -EBUSY);
    cr_expect_neq(strstr(err.cause, job->id), NULL, "%s", err.cause);
    if (other >= 0)
        bm_job_run_unlock(jobs, second.engine.job->id, other);
    bm_job_free(second.engine.job);
    end();
}

Test(launch, a_cancel_before_the_switch_rolls_back)
{
    bool ran = false;
    int rc;

    begin();
    fails_in = "copy";
    fails_with = -ECANCELED;
    rc = run(&ran);
    cr_expect_eq(rc, -ECANCELED);
    cr_expect_str_eq(done, "allocate copy roll_back");
    cr_expect_eq(stored_state(), BM_STATE_ROLLED_BACK);
    cr_expect_eq(bm_launch_result(job, rc, &err), -ECANCELED);
    cr_expect_eq(err.status, BM_EXIT_FAILED);
    end();
}

Test(launch, a_call_without_an_answer_stops_the_job_for_resume)
{
    bool ran = false;
    int rc;

    begin();
    fails_in = "switch_over";
    fails_with = -ETIMEDOUT;
    rc = run(&ran);
    cr_expect_eq(rc, -ETIMEDOUT);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    cr_expect_neq(strstr(err.remedy, "job resume"), NULL, "%s", err.remedy);
    cr_expect_eq(stored_state(), BM_STATE_NEEDS_RECOVERY);
    cr_expect_eq(job->from, BM_STATE_SWITCHING);
    end();
}

/* As another process does it later. */
static int resume(enum bm_resume how)
{
    struct bm_engine engine = {.jobs = jobs, .hooks = &hooks, .ops = &fake};
    char id[BM_JOB_ID_LEN];

    strcpy(id, job->id);
    bm_job_run_unlock(jobs, id, lock);
    bm_job_free(BM_STEAL(job));
    cr_assert_eq(bm_launch_take_up(jobs, id, &job, &lock, &err), 0);
    engine.job = job;
    done[0] = '\0';
    return bm_engine_resume(&engine, how, &err);
}

Test(launch, a_stopped_job_goes_on_where_it_stood)
{
    bool ran;

    begin();
    fails_in = "switch_over";
    fails_with = -ETIMEDOUT;
    (void)run(&ran);
    cr_expect_eq(resume(BM_RESUME_ON), 0, "%s: %s", err.what, err.cause);
    cr_expect_str_eq(done, "switch_over consolidate release");
    cr_expect_eq(stored_state(), BM_STATE_DONE);
    end();
}

Test(launch, a_stopped_job_can_go_back)
{
    bool ran;

    begin();
    fails_in = "copy";
    fails_with = -ETIMEDOUT;
    (void)run(&ran);
    cr_expect_eq(resume(BM_RESUME_BACK), -ECANCELED);
    cr_expect_str_eq(done, "roll_back");
    cr_expect_eq(stored_state(), BM_STATE_ROLLED_BACK);
    end();
}

Test(launch, a_job_that_runs_cannot_be_taken_up)
{
    struct bm_job *second = NULL;
    int other = 0;

    begin();
    cr_assert_eq(bm_launch_claim(&launch, &lock, &err), 0);
    cr_expect_eq(bm_launch_take_up(jobs, job->id, &second, &other, &err),
                 -EBUSY);
    cr_expect_eq(other, -1);
    cr_expect_null(second);
    end();
}

Test(launch, a_finished_job_is_not_resumed)
{
    bool ran;

    begin();
    cr_assert_eq(run(&ran), 0);
    cr_expect_eq(resume(BM_RESUME_ON), -EINVAL);
    cr_expect_eq(err.status, BM_EXIT_REFUSED);
    cr_expect_str_empty(done);
    end();
}
