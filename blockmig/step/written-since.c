// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Whether somebody else writes to the new images.
 */
#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/step/written-since.h"

#include <sys/stat.h>

/* Both 0: it is gone. */
static void read_times(const struct bm_layer *image, int64_t *written,
                       int64_t *changed)
{
    struct stat st = {0};

    (void)!stat(image->path, &st);
    *written = bm_nanoseconds(&st.st_mtim);
    *changed = bm_nanoseconds(&st.st_ctim);
}

void bm_target_keep_time(struct bm_job_disk *disk, size_t layer)
{
    struct bm_job_layer *lower = layer ? &disk->lower[layer - 1] : NULL;

    read_times(&bm_job_new_image(disk)[layer],
               lower ? &lower->image_ns : &disk->image.image_ns,
               lower ? &lower->changed_ns : &disk->image.changed_ns);
}

bool bm_target_written_since(const struct bm_job_disk *disk, size_t layer,
                             bool ours)
{
    const struct bm_job_layer *lower = layer ? &disk->lower[layer - 1] : NULL;
    int64_t written, changed;

    read_times(&bm_job_new_image(disk)[layer], &written, &changed);
    return written != (lower ? lower->image_ns : disk->image.image_ns) ||
           (ours &&
            changed != (lower ? lower->changed_ns : disk->image.changed_ns));
}

bool bm_target_any_written_since(const struct bm_job_disk *disk, bool ours)
{
    for (size_t k = 0; k <= disk->n_lower; k++)
        if (bm_target_written_since(disk, k, ours))
            return true;
    return false;
}
