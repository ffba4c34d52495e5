// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/overlay-placement.h"

#include "blockmig/image/owned-file.h"
#include "blockmig/plan/overlay-rules.h"
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

static enum bm_place_asked asked_for(const struct bm_move_options *options)
{
    if (options->overlay_dir)
        return BM_PLACE_ASKED_FOLDER;
    if (!strcmp(options->overlay_on, "source"))
        return BM_PLACE_ASKED_SOURCE;
    return strcmp(options->overlay_on, "target") ? BM_PLACE_ASKED_AUTO
                                                 : BM_PLACE_ASKED_TARGET;
}

static const char *const reasons[BM_PLACE_COUNT] = {
    [BM_PLACE_IN_FOLDER] = "--overlay-dir names the folder",
    [BM_PLACE_ON_SOURCE] = "it was asked for",
    [BM_PLACE_ON_TARGET] = "it was asked for",
    [BM_PLACE_SOURCE_CAN] = "the source takes writes and has room",
    [BM_PLACE_SOURCE_STILL] = "the target cannot hold them",
    [BM_PLACE_TARGET_CAN] = NULL, /* what stands in the way on the source */
    [BM_PLACE_TARGET_BETTER] = "the source gives errors",
};

static int set_place(struct bm_job *job, enum bm_place place, const char *why,
                     struct bm_error *err)
{
    bm_job_fill_plan(job)->on_target = bm_place_is_target(place);
    bm_job_fill_plan(job)->place_why =
        strdup(reasons[place] ? reasons[place] : why);
    return job->plan.place_why
               ? 0
               : bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

/* The target is looked at only if the source will not do. */
static enum bm_place choose_by_itself(const struct bm_job *job,
                                      const struct bm_datastore *store,
                                      unsigned facts, char *on_source,
                                      char *on_target, size_t size)
{
    enum bm_place place;

    look_at_source(job, on_source, size);
    facts |= on_source[0] ? BM_PLACE_SOURCE_CANNOT : 0;
    place = bm_place_decide(BM_PLACE_ASKED_AUTO, facts);
    if (!bm_place_is_target(place))
        return place;
    look_at_target(job, store, on_target, size);
    facts |= on_target[0] ? BM_PLACE_TARGET_CANNOT : 0;
    return bm_place_decide(BM_PLACE_ASKED_AUTO, facts);
}

int bm_place_choose(struct bm_job *job, const struct bm_datastore *store,
                    const struct bm_move_options *options, char *obstacle,
                    size_t size, struct bm_error *err)
{
    char on_source[512] = "", on_target[512] = "";
    enum bm_place_asked asked = asked_for(options);
    enum bm_place place = bm_place_decide(asked, 0);

    if (asked == BM_PLACE_ASKED_FOLDER)
        look_at_folder(job, options->overlay_dir, true, on_source,
                       sizeof on_source);
    else if (asked == BM_PLACE_ASKED_SOURCE)
        look_at_source(job, on_source, sizeof on_source);
    else if (asked == BM_PLACE_ASKED_TARGET)
        look_at_target(job, store, on_target, sizeof on_target);
    else
        place = choose_by_itself(job, store,
                                 options->rescue ? BM_PLACE_SOURCE_FAILS : 0,
                                 on_source, on_target, sizeof on_source);
    snprintf(obstacle, size, "%s",
             bm_place_is_target(place) ? on_target : on_source);
    return set_place(job, place, on_source, err);
}
