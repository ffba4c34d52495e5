// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/session/view-lookup.h"

#include "cli/session/control-client.h"
#include "cli/session/session.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-store-ops.h"

#include <errno.h>
#include <string.h>

#define END_MS 60000
#define LOOK_MS 50

struct search_context {
    const char *uuid, *name;
    char id[BM_JOB_ID_LEN];
};

static int on_job(void *opaque, const struct bm_job *job)
{
    struct search_context *search = opaque;

    if (!bm_strategy_traits_of(job->plan.strategy)->ends_with_process ||
        bm_state_final(job->state) ||
        (search->uuid && strcmp(job->uuid, search->uuid) != 0) ||
        (search->name && strcmp(job->snapshot->name, search->name) != 0))
        return 0;
    memcpy(search->id, job->id, sizeof search->id);
    return 0;
}

int cli_view_find(struct bm_job_store *jobs, const char *uuid, const char *name,
                  struct bm_job **out, struct bm_error *err)
{
    struct search_context search = {.uuid = uuid, .name = name};
    int rc = bm_job_store_list(jobs, on_job, &search, err);

    *out = NULL;
    return rc || !search.id[0] ? rc
                               : bm_job_store_load(jobs, search.id, out, err);
}

static void keep_reason(const struct bm_job_store *jobs,
                        const struct bm_job *view, struct bm_error *err)
{
    if (bm_job_running(jobs, view->id)) {
        bm_cause(err, "its view %s lives (job %s)", view->snapshot->name,
                 view->id);
        bm_remedy(err, "end that: 'blockmig snapshot delete %s %s'",
                  view->domain, view->snapshot->name);
    } else {
        bm_cause(err, "the process of its view %s has died",
                 view->snapshot->name);
        bm_remedy(err, "'blockmig job resume %s' tidies up", view->id);
    }
}

void cli_view_explain(struct bm_job_store *jobs, const char *uuid,
                      struct bm_error *err)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_job *view = NULL;

    (void)cli_view_find(jobs, uuid, NULL, &view, &ignored);
    if (view)
        keep_reason(jobs, view, err);
    bm_job_free(view);
}

int cli_view_none(const struct cli_options *options,
                  const struct bm_domain *domain, struct bm_error *err)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_job_store *jobs = NULL;
    struct bm_job *view = NULL;
    int rc = 0;

    /* a store that cannot be read is told by the claim; a dry run has none */
    if (cli_open_jobs(options, true, &jobs, &ignored) == 0)
        (void)cli_view_find(jobs, domain->uuid, NULL, &view, &ignored);
    if (view) {
        bm_fail(err, EBUSY, "cannot claim the disks of %s", domain->name);
        keep_reason(jobs, view, err);
        bm_status(err, BM_EXIT_REFUSED);
        rc = -EBUSY;
    }
    bm_job_free(view);
    bm_job_store_close(jobs);
    return rc;
}

static int has_ended(struct bm_job_store *jobs, const char *id, bool *ended,
                     struct bm_error *err)
{
    struct bm_job *job = NULL;
    int rc = bm_job_store_load(jobs, id, &job, err);

    *ended = !rc && bm_state_final(job->state);
    bm_job_free(job);
    return rc;
}

int cli_view_end(struct bm_job_store *jobs, const struct bm_job *view,
                 struct bm_error *err)
{
    int64_t until = bm_now_ms() + END_MS;
    int rc = cli_ask(jobs, view->id, "end", "cancel", err);
    bool ended = false;

    if (rc == -ENOENT) {
        bm_fail(err, ESRCH, "cannot end the view %s of %s",
                view->snapshot->name, view->domain);
        bm_cause(err, "nobody runs its job");
        bm_remedy(err, "'blockmig job resume %s' tidies up", view->id);
        return bm_status(err, BM_EXIT_HELD), -ESRCH;
    }
    while (!rc && !ended) {
        bm_sleep_ms(LOOK_MS);
        rc = has_ended(jobs, view->id, &ended, err);
        if (!rc && !ended && bm_now_ms() > until) {
            bm_fail(err, ETIMEDOUT, "the view %s of %s does not end",
                    view->snapshot->name, view->domain);
            bm_remedy(err, "see 'blockmig job show %s'", view->id);
            return bm_status(err, BM_EXIT_HELD), -ETIMEDOUT;
        }
    }
    return rc;
}
