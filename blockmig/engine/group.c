// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/engine/group.h"

#include "blockmig/strategy/create.h"
#include "blockmig/engine/engine-private.h"
#include "blockmig/run/guest-pause.h"
#include "blockmig/job/failpoint.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-store-ops.h"
#include "blockmig/step/step.h"

#include <errno.h>
#include <string.h>

/* One of them at work. */
struct taking {
    struct bm_run run;
    struct bm_pause pause;
    bool paused, asked;
};

static int prepare(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_enter(run, BM_STATE_ALLOCATING, err);

    if (!rc)
        rc = bm_step_allocate(run, err);
    if (!rc)
        rc = bm_run_enter(run, BM_STATE_FREEZING, err);
    return rc ? rc : bm_create_prepare(run, err);
}

static int pause_one(struct taking *t, struct bm_error *err)
{
    int rc;

    if (!t->run.domain->active)
        return 0;
    rc = bm_pause_begin(&t->run, &t->pause, err);
    t->paused = !rc;
    return rc;
}

/* Whatever came of it: what was paused runs again. */
static int resume_one(struct taking *t, struct bm_error *err)
{
    int rc;

    if (!t->paused)
        return 0;
    rc = bm_pause_resume(&t->run, err);
    return rc ? rc : bm_pause_end(&t->run, &t->pause, err);
}

static int pause_was_short(const struct taking *t, struct bm_error *err)
{
    if (!t->paused || (!t->pause.acted && t->pause.resumes <= 1))
        return 0;
    bm_fail(err, ETIME, "the restore points are not of one instant");
    bm_cause(err, "%s ran before all of them were made", t->run.job->domain);
    return bm_remedy(err, "delete them, and give a longer --max-pause"), -ETIME;
}

/* The instant. */
static int take(struct taking *all, size_t n, struct bm_error *err)
{
    struct bm_error later = BM_ERROR_INIT;
    int rc = 0;

    for (size_t i = 0; !rc && i < n; i++)
        rc = pause_one(&all[i], err);
    bm_failpoint("freezing.paused");
    for (size_t i = 0; !rc && i < n; i++) {
        rc = bm_create_ask(&all[i].run, err);
        all[i].asked = !rc;
    }
    for (size_t i = 0; i < n; i++)
        if (resume_one(&all[i], &later) && !rc) {
            *err = later;
            rc = -err->code;
        }
    for (size_t i = 0; !rc && i < n; i++)
        rc = pause_was_short(&all[i], err);
    return rc;
}

/* Each to its own end: what was made stays, what was not is rolled back. */
static void finish(struct taking *t, struct bm_group_member *member,
                   const struct bm_error *why, bool failed)
{
    if (failed && !t->asked && !t->run.reason.code)
        t->run.reason = *why;
    if (failed && !t->asked)
        bm_job_set_state(t->run.job, BM_STATE_ROLLING_BACK);
    member->rc = bm_engine_machine(&t->run, &member->err);
}

int bm_group_run(struct bm_connection *conn, struct bm_job_store *store,
                 struct bm_group_member *members, size_t n,
                 struct bm_error *err)
{
    BM_FREE struct taking *all = calloc(n, sizeof *all);
    int rc = all ? 0 : bm_fail_errno(err, ENOMEM, "cannot make a group");

    for (size_t i = 0; all && i < n; i++)
        all[i].run =
            bm_engine_context(&(struct bm_engine){.conn = conn,
                                                  .jobs = store,
                                                  .job = members[i].job,
                                                  .guard = members[i].guard,
                                                  .hooks = members[i].hooks});
    for (size_t i = 0; !rc && i < n; i++)
        rc = prepare(&all[i].run, err);
    if (!rc)
        rc = take(all, n, err);
    for (size_t i = 0; all && i < n; i++)
        finish(&all[i], &members[i], err, rc != 0);
    for (size_t i = 0; !rc && all && i < n; i++)
        if (members[i].rc) {
            *err = members[i].err;
            rc = members[i].rc;
        }
    return rc;
}
