// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The progress of a job, or of another long command, as one JSON object.
 */
#ifndef BM_REPORT_PROGRESS_H
#define BM_REPORT_PROGRESS_H

#include "blockmig/run/hooks.h"

#include <json-c/json.h>

/* Of the bytes of its phase; 0: not known. */
double bm_report_percent(const struct bm_progress *progress);
/* id: the job, or NULL. NULL: out of memory; the caller puts. */
json_object *bm_report_progress(const char *id, const char *phase,
                                const struct bm_progress *progress);

#endif
