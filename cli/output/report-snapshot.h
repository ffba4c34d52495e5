// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What became of a snapshot command, for people. */
#ifndef CLI_OUTPUT_REPORT_SNAPSHOT_H
#define CLI_OUTPUT_REPORT_SNAPSHOT_H

#include "blockmig/job/job.h"

void cli_snapshot_text(const struct bm_job *job);

#endif
