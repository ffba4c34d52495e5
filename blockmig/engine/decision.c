// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the engine does when a step does not lead to the next state: it answers
 * the questions of the rules (outcome.h), and acts.
 */
#include "blockmig/engine/engine-private.h"
#include "blockmig/engine/outcome.h"
#include "blockmig/job/disk-location.h"
#include "blockmig/run/wait-space.h"
#include "nbd/base/cleanup.h"

#include <fcntl.h>
#include <string.h>

#define RETRIES 3

/* A running guest that stands on its old images altogether can go back. What
 * a shut-off one needs, the way back finds out itself. */
static bool nothing_switched(struct bm_run *run)
{
    struct bm_error ignored = BM_ERROR_INIT;

    if (bm_run_refresh(run, &ignored))
        return false;
    for (size_t i = 0;
         run->domain && run->domain->active && i < run->job->n_disks; i++)
        if (bm_disk_location(run->domain, bm_run_disk(run, i),
                             &run->job->disks[i], &ignored) != BM_AT_SOURCE)
            return false;
    return true;
}

/* What QEMU had not written yet when it let go of the old images is missing
 * there if nothing could be written: the new ones are right then. For good. */
static bool old_side_fails(struct bm_run *run, struct bm_error *err)
{
    for (size_t i = 0; !run->job->guest.doubt && i < run->job->n_disks; i++) {
        const char *path = run->job->disks[i].source.layers[0].path;
        BM_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd >= 0)
            continue;
        run->job->guest.doubt = true;
        bm_cause(err,
                 "%s cannot be written (%s) and may miss what the guest "
                 "wrote last",
                 path, strerror(errno));
    }
    if (run->job->guest.doubt)
        bm_remedy(err,
                  "`blockmig job resume %s --accept` stays on the new "
                  "image",
                  run->job->id);
    return run->job->guest.doubt;
}

/* A guest that is saved or migrated makes steps fail in many ways. */
static int was_taken_away(struct bm_run *run, int rc, struct bm_error *err)
{
    struct bm_error away = BM_ERROR_INIT;

    if (rc == -EAGAIN || rc == -ETIMEDOUT || rc == -ECANCELED ||
        rc == -ECONNRESET || rc == -BM_NEEDS_OPERATOR ||
        bm_run_refresh(run, &away) != -BM_NEEDS_OPERATOR)
        return rc;
    *err = away;
    return -BM_NEEDS_OPERATOR;
}

/* A step that has failed, for the questions of the rules. */
struct failed_context {
    struct bm_run *run;
    struct bm_error *err;
    bool waited; /* for space */
    int space;   /* of bm_space_wait, once waited */
};

static int wait_for_space(struct failed_context *step)
{
    if (!step->waited)
        step->space = bm_space_wait(step->run, step->err);
    step->waited = true;
    return step->space;
}

static bool answer(void *opaque, enum bm_question question)
{
    struct failed_context *step = opaque;

    switch (question) {
    case BM_ALWAYS:
        return true;
    case BM_IF_HELD:
        return step->err->status == BM_EXIT_HELD;
    case BM_IF_RETRIES_LEFT:
        return step->run->retries < RETRIES;
    case BM_IF_CANCEL_ASKED:
        return bm_run_asked_to_cancel(step->run);
    case BM_IF_NOTHING_SWITCHED:
        return nothing_switched(step->run);
    case BM_IF_OLD_SIDE_FAILS:
        return old_side_fails(step->run, step->err);
    case BM_IF_SPACE_CAME:
        return wait_for_space(step) == 0;
    case BM_IF_SPACE_SHORT:
        return wait_for_space(step) != -ENOENT;
    }
    return false;
}

static int act(struct bm_run *run, enum bm_action action, struct bm_error *err)
{
    switch (action) {
    case BM_ACTION_GO_ON:
        return 0;
    case BM_ACTION_RETRY:
        run->retries++;
        return bm_run_note(run, err, "trying again: %s", err->what);
    case BM_ACTION_RETRY_QUIETLY:
        run->retries++;
        return 0;
    case BM_ACTION_ROLL_BACK:
        return bm_engine_back(run, BM_STATE_ROLLING_BACK, err);
    case BM_ACTION_UNDO:
        return bm_engine_back(run, BM_STATE_UNDOING, err);
    case BM_ACTION_HOLD:
        return bm_engine_stop(run, BM_STATE_HELD, err);
    case BM_ACTION_RECOVER_BACK:
        (void)bm_run_stop_at(run, BM_STATE_ROLLING_BACK, 0);
        break;
    case BM_ACTION_RECOVER:
        break;
    }
    return bm_engine_stop(run, BM_STATE_NEEDS_RECOVERY, err);
}

int bm_engine_decide(struct bm_run *run, int rc, struct bm_error *err)
{
    struct failed_context step = {.run = run, .err = err};
    enum bm_outcome outcome;

    rc = was_taken_away(run, rc, err);
    outcome = bm_outcome_of(rc, err->status == BM_EXIT_HELD);
    return act(run,
               bm_outcome_decide(bm_state_class_of(run->job->state), outcome,
                                 answer, &step),
               err);
}
