// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One image copy at work, for the files image copy*.c.
 */
#ifndef BM_IMAGECOPY_IMAGE_COPY_PRIVATE_H
#define BM_IMAGECOPY_IMAGE_COPY_PRIVATE_H

#include "blockmig/imagecopy/destination.h"
#include "blockmig/imagecopy/resume-state.h"
#include "nbd/copy/copy.h"
#include "nbd/copy/scan.h"

struct bm_image_copy_job {
    const struct bm_image_copy *how;
    struct bm_image_copy_result *result;
    struct bm_destination destination;
    struct bm_device *source, *target; /* target NULL: closed for re-reading */
    struct bm_manifest *digests;       /* NULL: none are wanted */
    struct bm_rate_limit *rate_limit;
    struct bm_bitmap *done; /* what is on the target durably, or written */
    struct bm_bitmap *todo; /* of this run; NULL: all */
    struct bm_mapfile *map; /* of a rescue */
    bool fresh;             /* the target was just made */
    bool started;           /* something was written: worth a --resume */
    char *source_id, *target_id;
    const char *phase;
};

/* As of struct bm_pipeline; opaque is the job. */
int bm_image_copy_tick(void *opaque, uint64_t done, uint64_t total);

/* Opens or makes the target, and takes up what an earlier run has left. */
int bm_image_copy_start(struct bm_image_copy_job *job, struct bm_error *err);
/* As the state file knows it; borrowed from the job. */
struct bm_image_copy_identity
bm_image_copy_identity_of(const struct bm_image_copy_job *job);

/* For struct bm_copy and the rescue: what was written is durable, and the state
 * file says so; opaque is the job. */
int bm_image_copy_checkpoint(void *opaque, const struct bm_bitmap *written,
                             struct bm_error *err);
/* Copies the blocks; with only: those, else todo. */
int bm_image_copy_copy(struct bm_image_copy_job *job,
                       const struct bm_bitmap *only, struct bm_error *err);
int bm_image_copy_open_target(struct bm_image_copy_job *job,
                              struct bm_error *err);
void bm_image_copy_close_target(struct bm_image_copy_job *job);

/* Re-reads the target and mends what differs, twice at most. -EBADMSG with
 * BM_EXIT_PROOF: it still differs, see result->bad. */
int bm_image_copy_verify(struct bm_image_copy_job *job, struct bm_error *err);

/* In the place of bm_image_copy_copy: ddrescue's way. 0 also with unreadable
 * ranges: see result->bad. */
int bm_image_copy_rescue(struct bm_image_copy_job *job, struct bm_error *err);

/* Adds to result->bad. */
int bm_image_copy_add_bad(struct bm_image_copy_result *result, uint64_t offset,
                          uint64_t length);

#endif
