// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Everything that blockmig writes. Standard output: what was asked for, the
 * progress of a long command, or JSON. Standard error: errors, and they only
 * in cli_output_error. Used by the main thread alone, or by its watch when it
 * stands still (cli/session/store-watchdog.h).
 */
#ifndef CLI_OUTPUT_OUTPUT_H
#define CLI_OUTPUT_OUTPUT_H

#include "blockmig/job/job.h"
#include "blockmig/run/hooks.h"
#include "cli/options/invocation.h"
#include "cli/output/write.h"

#include <json-c/json.h>

/* options stay borrowed. Again after standard output was replaced. */
void cli_output_start(const struct cli_options *options);
/* Flushes; a standard output that lost something makes status 0 a 1, or any
 * status what cli_output_trouble was told. */
int cli_output_end(int status);
void cli_output_trouble(int status);
/* The error as one line, and after a usage error where to find help. With
 * --json a streaming command's last object, if it had none yet. */
void cli_output_error(const struct bm_error *err,
                      const struct cli_command *command);

/* A long command, as it goes on. */
void cli_progress(const struct bm_job *job, const struct bm_progress *progress);
void cli_event(const struct bm_job *job, const char *text);
/* The same without a job: a phase begins, and goes on. */
void cli_phase(const char *phase);
void cli_phase_progress(const char *phase, uint64_t done, uint64_t total,
                        int64_t elapsed_ms);
void cli_result(const struct bm_job *job);
/* A result object of another kind (a dry run); takes it over. */
void cli_result_json_line(json_object *object);
bool cli_verbose(void);

#endif
