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
/* Adds to an object, with null for NULL. */
void cli_add_text(json_object *object, const char *name, const char *text);
void cli_add_number(json_object *object, const char *name, int64_t number);
void cli_add_bool(json_object *object, const char *name, bool value);
/* Wall clock milliseconds as 2025-01-31T12:00:00.123Z, into buf. */
const char *cli_time(int64_t ms, char *buf, size_t size);

void cli_add_ranges(json_object *object, const char *name,
                    const struct bm_range *ranges, size_t n);
/* Appends one such object. */
void cli_append_range(json_object *array, const struct bm_range *range);
void cli_add_bytes(json_object *object, const char *name, uint64_t bytes);

#endif
