// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the doctor looks at, and what it has found.
 */
#ifndef BM_DOCTOR_FINDINGS_H
#define BM_DOCTOR_FINDINGS_H

#include "blockmig/job/job-store.h"
#include "blockmig/preflight/checks.h"
#include "snapshot/tree/image-tree.h"

struct bm_doctor {
    struct bm_connection *conn;
    struct bm_domain *domain;
    const struct bm_restore_points *points;
    const struct bm_image_tree *tree; /* with others */
    struct bm_job_store *jobs;
    bool fix; /* what is safe */
    struct bm_preflight *list;
    size_t found, fixed; /* out */
};

/* One that was found; fixed: and mended. disk "" for the domain. */
int bm_doctor_found(struct bm_doctor *doctor, bool fixed, const char *name,
                    const char *disk, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

#endif
