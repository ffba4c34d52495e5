// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/datastore/space-required.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* Bytes of the file on its file system; 0: none is there. */
static uint64_t held_by(const char *path)
{
    struct stat st;

    return path && stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static uint64_t source_overlays_hold(const struct bm_job_disk *disk)
{
    uint64_t bytes = 0;

    for (int i = 0; i < disk->overlays.n_source; i++)
        bytes += held_by(disk->source.layers[i].path);
    return bytes;
}

/* Of so many bytes, those that may fall into holes of the image. */
static uint64_t merged_into(const struct bm_layer *image, uint64_t capacity,
                            uint64_t bytes)
{
    struct stat st;
    uint64_t held;

    if (image->type != BM_SOURCE_FILE || stat(image->path, &st) != 0)
        return 0;
    held = (uint64_t)st.st_blocks * 512;
    if (held >= capacity)
        return 0;
    return bytes < capacity - held ? bytes : capacity - held;
}

uint64_t bm_space_required_back(const struct bm_job_disk *disk)
{
    return merged_into(&disk->source.layers[disk->overlays.n_source],
                       disk->fixed.capacity, source_overlays_hold(disk));
}

static bool after_switch(const struct bm_job *job)
{
    return bm_state_traits_of(job->state)->overlays_on_new;
}

uint64_t bm_space_required_overlays(const struct bm_job *job,
                                    const struct bm_job_disk *disk)
{
    return after_switch(job) ? held_by(disk->fixed.switch_overlay) +
                                   held_by(disk->fixed.mirror_overlay)
                             : source_overlays_hold(disk);
}

int bm_space_available(const char *path, uint64_t *out)
{
    struct statvfs fs;

    if (statvfs(path, &fs) != 0)
        return -errno;
    *out = fs.f_blocks ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
    return 0;
}

static struct bm_space_need *of_device(struct bm_space_required *required,
                                       dev_t device)
{
    for (size_t i = 0; i < required->n; i++)
        if (required->all[i].device == device)
            return &required->all[i];
    return NULL;
}

static struct bm_space_need *append(struct bm_space_required *required,
                                    const char *path, dev_t device)
{
    struct bm_space_need *all =
        realloc(required->all, (required->n + 1) * sizeof *required->all);
    struct bm_space_need *it;

    if (!all)
        return NULL;
    required->all = all;
    it = &all[required->n];
    memset(it, 0, sizeof *it);
    it->device = device;
    it->path = strdup(path);
    if (!it->path)
        return NULL;
    required->n++;
    return it;
}

int bm_space_required_add(struct bm_space_required *required, const char *path,
                          uint64_t bytes, bool written)
{
    uint64_t available = 0;
    struct bm_space_need *it;
    struct stat st;

    if (!path || stat(path, &st) != 0 || S_ISBLK(st.st_mode) ||
        bm_space_available(path, &available) != 0)
        return 0;
    it = of_device(required, st.st_dev);
    if (!it)
        it = append(required, path, st.st_dev);
    if (!it)
        return -ENOMEM;
    it->available = available;
    it->bytes += bytes;
    it->written |= written;
    return 0;
}

/* Overlays on the target are there since the source is short of room. */
static int add_back(const struct bm_job *job, const struct bm_job_disk *disk,
                    struct bm_space_required *required)
{
    int rc;

    if (disk->overlays.n_source == 0)
        return 0;
    rc = bm_space_required_add(required, disk->source.layers[0].path, 0, true);
    if (rc ||
        (job->plan.on_target && !bm_state_traits_of(job->state)->past_switch))
        return rc;
    return bm_space_required_add(
        required, disk->source.layers[disk->overlays.n_source].path,
        bm_space_required_back(disk), false);
}

static int add_forth(const struct bm_job *job, const struct bm_job_disk *disk,
                     struct bm_space_required *required)
{
    const struct bm_layer *image = bm_job_new_image(disk);
    int rc =
        bm_space_required_add(required, disk->fixed.switch_overlay, 0, true);

    return rc ? rc
              : bm_space_required_add(
                    required, image->path,
                    merged_into(image, disk->fixed.capacity,
                                bm_space_required_overlays(job, disk)),
                    false);
}

/* On the way back from the new side the guest goes on writing there until all
 * of it is on the old one. */
static int add_undo(const struct bm_job *job, const struct bm_job_disk *disk,
                    struct bm_space_required *required)
{
    int rc =
        bm_space_required_add(required, disk->fixed.switch_overlay, 0, true);

    if (!rc)
        rc = bm_space_required_add(required, disk->fixed.rollback_overlay,
                                   held_by(disk->fixed.switch_overlay), true);
    return rc ? rc : add_back(job, disk, required);
}

int bm_space_required_find(const struct bm_job *job,
                           struct bm_space_required *out, struct bm_error *err)
{
    int rc = 0;

    memset(out, 0, sizeof *out);
    for (size_t i = 0; !rc && !job->staged.off && i < job->n_disks; i++) {
        if (after_switch(job))
            rc = add_forth(job, &job->disks[i], out);
        else if (job->state == BM_STATE_UNDOING)
            rc = add_undo(job, &job->disks[i], out);
        else if (!bm_state_traits_of(job->state)->past_switch ||
                 job->state == BM_STATE_ROLLING_BACK)
            rc = add_back(job, &job->disks[i], out);
    }
    return rc ? bm_fail_errno(err, -rc, "cannot look at the room") : 0;
}

void bm_space_required_clear(struct bm_space_required *required)
{
    for (size_t i = 0; i < required->n; i++)
        free(required->all[i].path);
    free(required->all);
    memset(required, 0, sizeof *required);
}

#define SHARE 64
#define LEAST (UINT64_C(16) << 20)
#define MOST (UINT64_C(256) << 20)

uint64_t bm_ballast_size(const char *path)
{
    struct statvfs fs;
    uint64_t size;

    if (statvfs(path, &fs) != 0)
        return LEAST;
    size = (uint64_t)fs.f_blocks * fs.f_frsize / SHARE;
    return size < LEAST ? LEAST : size > MOST ? MOST : size;
}
