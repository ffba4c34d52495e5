// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What became of a snapshot command, for people and in JSON. */
#ifndef CLI_OUTPUT_REPORT_SNAPSHOT_H
#define CLI_OUTPUT_REPORT_SNAPSHOT_H

#include "blockmig/job/job.h"

#include <json-c/json.h>

/* Whether it makes, merges or reverts, and moves no disk to another image. */
bool cli_is_no_move(const struct bm_job *job);
/* Adds the members of a job that is a snapshot command. */
void cli_add_snapshot(json_object *o, const struct bm_job *job);
void cli_snapshot_text(const struct bm_job *job);

#endif
