// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the JSON of all reports is made of. It prints nothing.
 *
 * Threads: any.
 */
#ifndef BM_REPORT_JSON_H
#define BM_REPORT_JSON_H

#include "nbd/base/error.h"
#include "nbd/base/range.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Adds to an object, with null for NULL. */
void bm_report_add_text(json_object *object, const char *name,
                        const char *text);
void bm_report_add_number(json_object *object, const char *name,
                          int64_t number);
void bm_report_add_bool(json_object *object, const char *name, bool value);
/* Wall clock milliseconds as 2025-01-31T12:00:00.123Z, into buf. */
const char *bm_report_time(int64_t ms, char *buf, size_t size);
void bm_report_add_ranges(json_object *object, const char *name,
                          const struct bm_range *ranges, size_t n);
/* Appends one such object. */
void bm_report_append_range(json_object *array, const struct bm_range *range);
void bm_report_add_bytes(json_object *object, const char *name, uint64_t bytes);

/* {"event":...,"time":...,"job":...}; job may be NULL. NULL: no memory. */
json_object *bm_report_event(const char *event, const char *job);
json_object *bm_report_error(const struct bm_error *err);

#endif
