// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/imagecopy/image-copy-private.h"

#include <errno.h>
#include <stdlib.h>

int bm_image_copy_add_bad(struct bm_image_copy_result *result, uint64_t offset,
                          uint64_t length)
{
    struct bm_range *grown =
        reallocarray(result->bad, result->n_bad + 1, sizeof *grown);

    if (!grown)
        return -ENOMEM;
    result->bad = grown;
    grown[result->n_bad++] = (struct bm_range){offset, length};
    result->bad_bytes += length;
    return 0;
}

int bm_image_copy_tick(void *opaque, uint64_t done, uint64_t total)
{
    struct bm_image_copy_job *job = opaque;
    uint64_t kept = job->todo ? job->result->kept : 0;

    return job->how->progress ? job->how->progress(job->how->opaque, job->phase,
                                                   kept + done, kept + total)
                              : 0;
}

int bm_image_copy_checkpoint(void *opaque, const struct bm_bitmap *written,
                             struct bm_error *err)
{
    struct bm_image_copy_job *job = opaque;
    struct bm_image_copy_identity id = bm_image_copy_identity_of(job);

    return bm_image_copy_state_save(job->destination.state, &id, written, err);
}

int bm_image_copy_copy(struct bm_image_copy_job *job,
                       const struct bm_bitmap *only, struct bm_error *err)
{
    struct bm_copy copy = {.source = job->source,
                           .target = job->target,
                           .only = only ? only : job->todo,
                           .digests = job->digests,
                           .written = job->done,
                           .rate_limit = job->rate_limit,
                           .checkpoint = bm_image_copy_checkpoint,
                           .progress = bm_image_copy_tick,
                           .opaque = job};
    struct bm_copy_result sum;
    int rc;

    job->phase = "copying";
    job->started = true;
    rc = bm_copy_run(&copy, &sum, err);
    job->result->data += sum.data;
    job->result->zeroes += sum.zeroes;
    if (rc && sum.unread)
        bm_remedy(err, "--on-read-error rescue --mapfile FILE copies all that "
                       "can be read");
    return rc;
}
