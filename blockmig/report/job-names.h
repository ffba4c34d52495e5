// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How a job and the images of its disks are called in a report. All strings are
 * borrowed from the job, unless said otherwise.
 */
#ifndef BM_REPORT_JOB_NAMES_H
#define BM_REPORT_JOB_NAMES_H

#include "blockmig/job/job.h"

/* The image that the disk had when the job began, and its new one; "-": has
 * none. */
const char *bm_report_source_name(const struct bm_job_disk *disk);
const char *bm_report_dest_name(const struct bm_job_disk *disk);
/* The old layer that the new one number k was made from; 0: as above. */
const char *bm_report_layer_name(const struct bm_job_disk *disk, size_t k);
/* Some of it could not be read, or was read from an older copy. */
bool bm_report_has_gaps(const struct bm_job_disk *disk);
/* A source of the job was kept and is not deleted yet. */
bool bm_report_keeps(const struct bm_job *job);
/* nbd+unix:///vda?socket=... Caller frees; NULL: out of memory. */
char *bm_report_view_uri(const struct bm_job *view, const char *target);

/* Whether it makes, merges or reverts, and moves no disk to another image. */
bool bm_report_is_no_move(const struct bm_job *job);

#endif
