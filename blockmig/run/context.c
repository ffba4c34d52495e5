// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/context.h"
#include "nbd/base/cleanup.h"

#include <errno.h>

int bm_run_save(struct bm_run *m, const char *text, struct bm_error *err)
{
    return bm_job_store_save(m->jobs, m->job, text, err);
}

int bm_run_note(struct bm_run *m, struct bm_error *err, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    m->hooks->event(m->hooks->opaque, m->job, text);
    return bm_run_save(m, text, err);
}

bool bm_run_asked_to_cancel(struct bm_run *m)
{
    if (m->hooks->cancelled(m->hooks->opaque))
        m->job->cancel = true;
    return m->job->cancel;
}

bool bm_run_cancelled(struct bm_run *m)
{
    return bm_run_asked_to_cancel(m) || m->space == BM_SPACE_STOP ||
           (m->space == BM_SPACE_FORWARD &&
            bm_state_traits(m->job->state)->past_switch);
}

int bm_run_stop_at(struct bm_run *m, enum bm_state state, int rc)
{
    m->stops_elsewhere = true;
    m->stop_at = state;
    return rc;
}

void bm_run_keep_reason(struct bm_run *m, const struct bm_error *err)
{
    if (!m->reason.code && err->code)
        m->reason = *err;
}

void bm_run_unlock(struct bm_run *m)
{
    for (size_t i = 0; i < m->n_locks; i++)
        (void)close(m->locks[i]);
    free(BM_STEAL(m->locks));
    m->n_locks = 0;
}

struct bm_disk *bm_run_disk(struct bm_run *m, size_t i)
{
    return m->domain ? bm_domain_disk(m->domain, m->job->disks[i].target)
                     : NULL;
}

int bm_run_misplaced(struct bm_run *m, size_t i, const char *where,
                     const struct bm_chain *found, struct bm_error *err)
{
    const struct bm_disk *disk = bm_run_disk(m, i);
    const struct bm_chain *chain = found ? found : disk ? &disk->chain : NULL;
    char text[400];

    bm_fail(err, ESTALE, "cannot go on with disk %s of %s",
            m->job->disks[i].target, m->job->domain);
    bm_cause(err, "it is %s: %s", where,
             chain ? bm_chain_text(chain, text, sizeof text)
                   : "not in the domain");
    bm_remedy(err,
              "undo what was changed behind our back (a snapshot that was "
              "made meanwhile: commit it), then `blockmig job resume %s`",
              m->job->id);
    return bm_status(err, BM_EXIT_HELD), -ESTALE;
}
