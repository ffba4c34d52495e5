// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the commands on bytes share: progress, and Ctrl-C. */
#ifndef CLI_OUTPUT_BYTES_H
#define CLI_OUTPUT_BYTES_H

#include "cli/options/invocation.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/* From now on SIGINT, SIGTERM and SIGHUP only ask for a stop. */
void cli_catch_signals(void);

bool cli_stop_asked(void);

/* Shows it, and tells whether a signal asked to stop: what the progress
 * hooks of nbd/ return. */
int cli_bytes_progress(const char *phase, uint64_t done, uint64_t total);

/* Adds [{"offset":..,"length":..},..]. */
struct bm_range;

#endif
