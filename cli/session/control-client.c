// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/session/control-client.h"
#include "blockmig/control/control-server.h"
#include "blockmig/job/job-store-ops.h"
#include "nbd/base/cleanup.h"

#include <errno.h>
#include <string.h>

int cli_ask(const struct bm_job_store *jobs, const char *id, const char *verb,
            const char *line, struct bm_error *err)
{
    BM_FREE char *answer = NULL;
    int rc = bm_control_ask(bm_job_store_dir(jobs), id, line, &answer, err);

    if (rc < 0 || strcmp(answer, "ok") == 0)
        return rc;
    bm_fail(err, EINVAL, "cannot %s job %s", verb, id);
    bm_cause(err, "it answers: %s", answer);
    return bm_status(err, BM_EXIT_REFUSED), -EINVAL;
}

int cli_ask_ended(const char *verb, const struct bm_job *job,
                  struct bm_error *err)
{
    bm_fail(err, ESRCH, "cannot %s job %s", verb, job->id);
    bm_cause(err, "it is finished already (%s)", bm_state_name(job->state));
    return bm_status(err, BM_EXIT_REFUSED), -ESRCH;
}
