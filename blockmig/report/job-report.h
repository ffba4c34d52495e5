// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A job as one JSON object: its result, or all of its journal. Programs read
 * it, so a member keeps its name and its type. NULL: out of memory; the caller
 * puts.
 */
#ifndef BM_REPORT_JOB_REPORT_H
#define BM_REPORT_JOB_REPORT_H

#include "blockmig/job/job.h"

#include <json-c/json.h>

/* Adds the members of a job that is a snapshot command. */
void bm_report_add_snapshot(json_object *o, const struct bm_job *job);

/* The last object of a long command. */
json_object *bm_report_result(const struct bm_job *job);
/* The whole journal, and whether a process runs it. NULL: no memory. */
json_object *bm_report_job(const struct bm_job *job, bool running);

#endif
