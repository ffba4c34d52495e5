// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* One request to the process that runs a job. */
#ifndef CLI_SESSION_CONTROL_CLIENT_H
#define CLI_SESSION_CONTROL_CLIENT_H

#include "blockmig/job/job-store.h"

/* The line goes to its control socket; verb is for messages: "cannot VERB job
 * 1a2b3c4d". 0: it said ok; -ENOENT: nobody runs the job; -EINVAL: it refuses,
 * its answer is the cause. */
int cli_ask(const struct bm_job_store *jobs, const char *id, const char *verb,
            const char *line, struct bm_error *err);

/* The job has ended: "cannot VERB job ...", with status BM_EXIT_REFUSED. */
int cli_ask_ended(const char *verb, const struct bm_job *job,
                  struct bm_error *err);

#endif
