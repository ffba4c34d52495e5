// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/overlay-placement.h"

#include "blockmig/image/owned-file.h"
#include "blockmig/datastore/space-required.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define RESERVE (UINT64_C(512) << 20)

uint64_t bm_place_reserve(const struct bm_job_disk *disk)
{
    return disk->fixed.capacity < RESERVE ? disk->fixed.capacity : RESERVE;
}

/* The folder of a disk's image. Caller frees; NULL: it stands in none. */
static char *source_folder(const struct bm_job_disk *disk)
{
    const struct bm_layer *top = disk->source.n ? disk->source.layers : NULL;

    return top && top->type == BM_SOURCE_FILE && top->path
               ? bm_file_folder(top->path)
               : NULL;
}

static bool on_device(const struct bm_job_disk *disk, dev_t device)
{
    BM_FREE char *folder = source_folder(disk);
    struct stat st;

    return folder && stat(folder, &st) == 0 && st.st_dev == device;
}

/* all: the source overlays of all disks come there, else of those that stand
 * there. */
static void look_at_folder(const struct bm_job *job, const char *folder,
                           bool all, char *why, size_t size)
{
    uint64_t need = 2 * bm_ballast_size(folder), available;
    struct stat st;
    char required[32];

    if (access(folder, W_OK | X_OK) != 0 || stat(folder, &st) != 0 ||
        bm_space_available(folder, &available) != 0) {
        snprintf(why, size, "no overlay can be made in %s: %s", folder,
                 strerror(errno));
        return;
    }
    for (size_t i = 0; i < job->n_disks; i++)
        if (all || on_device(&job->disks[i], st.st_dev))
            need += bm_place_reserve(&job->disks[i]);
    if (available < need)
        snprintf(why, size, "%s has too little room for overlays: under %s",
                 folder, bm_format_size(need, required, sizeof required));
}

/* The image must take writes too: going back ends in it. */
static void look_at_disk(const struct bm_job *job,
                         const struct bm_job_disk *disk, char *why, size_t size)
{
    BM_FREE char *folder = source_folder(disk);

    if (!folder)
        snprintf(why, size, "%s stands in no folder that could hold an overlay",
                 disk->target);
    else if (access(disk->source.layers[0].path, W_OK) != 0)
        snprintf(why, size, "the source takes no writes: %s: %s",
                 disk->source.layers[0].path, strerror(errno));
    else
        look_at_folder(job, folder, false, why, size);
}

static void look_at_source(const struct bm_job *job, char *why, size_t size)
{
    why[0] = '\0';
    for (size_t i = 0; !why[0] && i < job->n_disks; i++)
        look_at_disk(job, &job->disks[i], why, size);
}

static void look_at_target(const struct bm_job *job,
                           const struct bm_datastore *store, char *why,
                           size_t size)
{
    why[0] = '\0';
    if (store->kind == BM_DATASTORE_BLOCK)
        snprintf(why, size, "%s is a device, and holds no overlay",
                 store->path);
    else
        look_at_folder(job, store->path, true, why, size);
}

static int place(struct bm_job *job, bool on_target, const char *why,
                 struct bm_error *err)
{
    bm_job_fill_plan(job)->on_target = on_target;
    bm_job_fill_plan(job)->place_why = strdup(why);
    return job->plan.place_why
               ? 0
               : bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

/* failing: the source gives errors, so the guest shall write elsewhere. A
 * target that has no folder or no room either is no way out. */
static int place_by_itself(struct bm_job *job, const struct bm_datastore *store,
                           bool failing, char *obstacle, size_t size,
                           struct bm_error *err)
{
    char why[512], other[512];

    look_at_source(job, obstacle, size);
    if (!obstacle[0] && !failing)
        return place(job, false, "the source takes writes and has room", err);
    look_at_target(job, store, other, sizeof other);
    if (other[0])
        return place(job, false, "the target cannot hold them", err);
    snprintf(why, sizeof why, "%s",
             obstacle[0] ? obstacle : "the source gives errors");
    obstacle[0] = '\0';
    return place(job, true, why, err);
}

int bm_place_choose(struct bm_job *job, const struct bm_datastore *store,
                    const struct bm_move_options *options, char *obstacle,
                    size_t size, struct bm_error *err)
{
    const char *on = options->overlay_on;

    obstacle[0] = '\0';
    if (options->overlay_dir) {
        look_at_folder(job, options->overlay_dir, true, obstacle, size);
        return place(job, false, "--overlay-dir names the folder", err);
    }
    if (!strcmp(on, "source")) {
        look_at_source(job, obstacle, size);
        return place(job, false, "it was asked for", err);
    }
    if (!strcmp(on, "target")) {
        look_at_target(job, store, obstacle, size);
        return place(job, true, "it was asked for", err);
    }
    return place_by_itself(job, store, options->rescue, obstacle, size, err);
}
