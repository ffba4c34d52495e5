// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A job as people and as programs read it. */
#ifndef CLI_OUTPUT_REPORT_H
#define CLI_OUTPUT_REPORT_H

#include "blockmig/job/job.h"

#include <json-c/json.h>

/* {"event":...,"time":...,"job":...}; job may be NULL. NULL: no memory. */
json_object *cli_event_json(const char *event, const char *job);
/* The last object of a long command. */
json_object *cli_result_json(const struct bm_job *job);
json_object *cli_error_json(const struct bm_error *err);
void cli_result_text(const struct bm_job *job);

/* The whole journal, and whether a process runs it. NULL: no memory. */
json_object *cli_job_json(const struct bm_job *job, bool running);
void cli_job_text(const struct bm_job *job, bool running);
/* "move", "delete s2": in buf, or a constant. */
const char *cli_job_what(const struct bm_job *job, char *buf, size_t size);

/* "yes", "no", or "paused" by its user. */
const char *cli_running(const struct bm_job *job, bool running);

/* The image that the disk had when the job began, and its new one; "-": has
 * none. */
const char *cli_source_name(const struct bm_job_disk *disk);
const char *cli_dest_name(const struct bm_job_disk *disk);
/* The old layer that the new one number k was made from; 0: as above. */
const char *cli_layer_name(const struct bm_job_disk *disk, size_t k);
/* Some of it could not be read, or was read from an older copy. */
bool cli_has_gaps(const struct bm_job_disk *disk);
/* A source of the job was kept and is not deleted yet. */
bool cli_job_keeps(const struct bm_job *job);

/* nbd+unix:///vda?socket=... Caller frees; NULL: out of memory. */
char *cli_view_uri(const struct bm_job *view, const char *target);

#endif
