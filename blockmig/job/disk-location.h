// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where a disk really stands, whatever the journal says: from the live XML of
 * a running domain, from the inactive XML and the image headers of a
 * shut-off one.
 */
#ifndef BM_JOB_DISK_LOCATION_H
#define BM_JOB_DISK_LOCATION_H

#include "blockmig/job/job.h"
#include "snapshot/domain/domain.h"

enum bm_location {
    BM_AT_SOURCE,  /* the chain the job began with */
    BM_AT_DEST,    /* the new image alone */
    BM_AT_OVERLAY, /* our overlay on the new image */
    BM_AT_BACK,    /* our overlay on the old chain */
    BM_AT_PULL,    /* the new image on the old chain */
    BM_AT_NOWHERE, /* the disk or the domain is gone */
    BM_AT_FOREIGN, /* someone else changed it: a person must look */
};
const char *bm_location_name(enum bm_location location);

/* disk NULL: nowhere. Negative errno when it cannot be told (a header could
 * not be read), else an enum bm_location. */
int bm_disk_location(const struct bm_domain *domain, const struct bm_disk *disk,
                     const struct bm_job_disk *plan, struct bm_error *err);

/* The chain that the disk stands on: of a shut-off domain with what the
 * headers tell. Caller clears. */
int bm_disk_location_chain(const struct bm_domain *domain,
                           const struct bm_disk *disk, struct bm_chain *out,
                           struct bm_error *err);

/* A qcow2 overlay on a chain; -ENOMEM. The others: the chains of the
 * situations. Caller clears. */
int bm_chain_on_top(const char *overlay, const struct bm_chain *below,
                    struct bm_chain *out);
int bm_chain_overlay(const struct bm_job_disk *plan, struct bm_chain *out);
int bm_chain_back(const struct bm_job_disk *plan, struct bm_chain *out);

#endif
