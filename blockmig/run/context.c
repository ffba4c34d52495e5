// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/context.h"
#include "nbd/base/cleanup.h"

#include <errno.h>

int bm_run_save(struct bm_run *run, const char *text, struct bm_error *err)
{
    return bm_job_store_save(run->jobs, run->job, text, err);
}

int bm_run_note(struct bm_run *run, struct bm_error *err, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    run->hooks->event(run->hooks->opaque, run->job, text);
    return bm_run_save(run, text, err);
}

bool bm_run_asked_to_cancel(struct bm_run *run)
{
    if (run->hooks->cancelled(run->hooks->opaque))
        run->job->cancel = true;
    return run->job->cancel;
}

bool bm_run_cancelled(struct bm_run *run)
{
    return bm_run_asked_to_cancel(run) || run->watch.verdict == BM_SPACE_STOP ||
           (run->watch.verdict == BM_SPACE_FORWARD &&
            bm_state_traits_of(run->job->state)->past_switch);
}

int bm_run_stop_at(struct bm_run *run, enum bm_state state, int rc)
{
    run->stops_elsewhere = true;
    run->stop_at = state;
    return rc;
}

void bm_run_keep_reason(struct bm_run *run, const struct bm_error *err)
{
    if (!run->reason.code && err->code)
        run->reason = *err;
}

void bm_run_unlock(struct bm_run *run)
{
    for (size_t i = 0; i < run->locked.n; i++)
        (void)close(run->locked.fds[i]);
    free(BM_STEAL(run->locked.fds));
    run->locked.n = 0;
}

struct bm_disk *bm_run_disk(struct bm_run *run, size_t i)
{
    return run->domain ? bm_domain_disk(run->domain, run->job->disks[i].target)
                       : NULL;
}

int bm_run_misplaced(struct bm_run *run, size_t i, const char *where,
                     const struct bm_chain *found, struct bm_error *err)
{
    const struct bm_disk *disk = bm_run_disk(run, i);
    const struct bm_chain *chain = found ? found : disk ? &disk->chain : NULL;
    char text[400];

    bm_fail(err, ESTALE, "cannot go on with disk %s of %s",
            run->job->disks[i].target, run->job->domain);
    bm_cause(err, "it is %s: %s", where,
             chain ? bm_chain_text(chain, text, sizeof text)
                   : "not in the domain");
    bm_remedy(err,
              "undo what was changed behind our back (a snapshot that was "
              "made meanwhile: commit it), then `blockmig job resume %s`",
              run->job->id);
    return bm_status(err, BM_EXIT_HELD), -ESTALE;
}
