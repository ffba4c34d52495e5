// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The journal's format: its number, and how an older one becomes ours.
 *
 * The number stands in one place, in the job store (of SQLite's database it is
 * the user_version), and holds for the tables and for every document in them.
 * Whoever changes what is written adds one to it, and an upgrade to the table
 * of job-format.c. The files beside the database say for themselves what they
 * are: bitmaps and manifests have a number in their first bytes, a rescue's map
 * is that of ddrescue, and the rest is empty or a log.
 *
 * Threads: any.
 */
#ifndef BM_JOB_JOB_FORMAT_H
#define BM_JOB_JOB_FORMAT_H

#include "nbd/base/error.h"

#include <stdint.h>

/*
 * 1: each document had a number of its own too, "version", which was 3
 * 2: only the store has one
 */
#define BM_JOB_FORMAT 2

/*
 * Whether this program can read that format: 0, or -EPROTO with status
 * BM_EXIT_REFUSED and what to do. where: the store, for the error.
 */
int bm_job_format_check(int64_t format, const char *where,
                        struct bm_error *err);

/* A job's document of an older format, as ours would have been written. Caller
 * frees. -EBADMSG: it is damaged, the error names the field. */
int bm_job_format_upgrade(const char *text, int64_t format, char **out,
                          struct bm_error *err);

#endif
