// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The state of a domain's chains: live and saved XML, libvirt's snapshots, the
 * headers of the images, the files and QEMU's locks, side by side. A list of
 * what was found, each with what is safe to do; that part it can do itself.
 */
#ifndef BM_DOCTOR_DOCTOR_H
#define BM_DOCTOR_DOCTOR_H

#include "blockmig/doctor/findings.h"

int bm_doctor_run(struct bm_doctor *doctor, struct bm_error *err);

/* --- its parts; each adds to the list: -ENOMEM, or what failed --- */

/* The images: there, whole, readable, their links, owners, sizes, locks. */
int bm_doctor_images(struct bm_doctor *doctor, struct bm_error *err);
/* The XML of the disks, live and saved, against the headers. */
int bm_doctor_disks(struct bm_doctor *doctor, struct bm_error *err);
/* libvirt's metadata. */
int bm_doctor_points(struct bm_doctor *doctor, struct bm_error *err);
/* What jobs have left: files, a stamp, manifests of what is gone. */
int bm_doctor_left(struct bm_doctor *doctor, struct bm_error *err);

/* Whether a file is one of a job's that has not ended, or is unknown. */
bool bm_doctor_of_job(struct bm_doctor *doctor, const char *path);

#endif
