// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What room the overlays of a job need in its present state: on each file
 * system where the guest writes to one, and where one will be merged. An image
 * with holes takes up to what the overlays over it hold; one without none.
 */
#ifndef BM_DATASTORE_SPACE_REQUIRED_H
#define BM_DATASTORE_SPACE_REQUIRED_H

#include "blockmig/job/job.h"

struct bm_space_need {
    dev_t device;
    char *path;     /* a file or folder there */
    uint64_t bytes; /* that a merge, or an image, may take there */
    uint64_t available;
    bool written; /* the guest writes to an overlay of ours there */
};
struct bm_space_required {
    struct bm_space_need *all;
    size_t n;
};
#define BM_SPACE_REQUIRED_INIT                                                 \
    {                                                                          \
        NULL, 0                                                                \
    }

/* path NULL, a device, or what is not there needs no room. -ENOMEM. */
int bm_space_required_add(struct bm_space_required *required, const char *path,
                          uint64_t bytes, bool written);
/* Of a job in its state; out->n is 0 where no overlay of ours is written to.
 * -ENOMEM. */
int bm_space_required_find(const struct bm_job *job,
                           struct bm_space_required *out, struct bm_error *err);
void bm_space_required_clear(struct bm_space_required *required);

/* Bytes that going back may take in the old image. */
uint64_t bm_space_required_back(const struct bm_job_disk *disk);
/* Bytes that the overlays of a disk hold: before the switch its source
 * overlays, after it those of the new side. */
uint64_t bm_space_required_overlays(const struct bm_job *job,
                                    const struct bm_job_disk *disk);
/* Free for us on the file system of path; UINT64_MAX on one without a size,
 * such as a file that FUSE makes. Negative errno. */
int bm_space_available(const char *path, uint64_t *out);

/* Bytes of the ballast on the file system of that folder: a 64th of it, 16 to
 * 256 MiB. Less free room than that again, and the room is too little. */
uint64_t bm_ballast_size(const char *path);

#endif
