// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A job as people read it. */
#ifndef CLI_OUTPUT_REPORT_H
#define CLI_OUTPUT_REPORT_H

#include "blockmig/job/job.h"

void cli_result_text(const struct bm_job *job);

void cli_job_text(const struct bm_job *job, bool running);
/* "move", "delete s2": in buf, or a constant. */
const char *cli_job_what(const struct bm_job *job, char *buf, size_t size);

/* "yes", "no", or "paused" by its user. */
const char *cli_running(const struct bm_job *job, bool running);

#endif
