// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Writing to standard output: text, one line of JSON, and what JSON is made of.
 */
#ifndef CLI_OUTPUT_WRITE_H
#define CLI_OUTPUT_WRITE_H

#include "nbd/base/range.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was asked for. */
void cli_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* What is only company: not with --json, not with -q. */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One line of JSON; takes the object over. NULL: out of memory, an error at
 * the end. */
void cli_json(json_object *object);

#endif
