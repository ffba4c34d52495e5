// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/step/bitmaps.h"

#include "nbd/image/image-bitmaps.h"
#include "nbd/base/fsync.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/step/written-since.h"

#include <errno.h>
#include <string.h>

void bm_carried_clear(struct bm_carried *carried)
{
    free(carried->names);
    free(carried->lost);
    memset(carried, 0, sizeof *carried);
}

static int no_memory(const struct bm_layer *image, struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot carry bitmaps over to %s",
                         image->path);
}

static int name_it(char **list, const char *name)
{
    char *longer;

    if (asprintf(&longer, "%s%s%s", *list ? *list : "", *list ? ", " : "",
                 name) < 0)
        return -ENOMEM;
    free(*list);
    *list = longer;
    return 0;
}

/* --- what there is --- */

struct layers {
    const struct bm_chain *view;
    struct bm_image_bitmaps *of; /* each layer */
};

static void layers_clear(struct layers *layers)
{
    for (size_t i = 0; layers->of && i < layers->view->n; i++)
        bm_image_bitmaps_clear(&layers->of[i]);
    free(layers->of);
}

static int layers_read(const struct bm_chain *view, struct layers *out,
                       struct bm_error *err)
{
    int rc = 0;

    out->view = view;
    out->of = calloc(view->n, sizeof *out->of);
    if (!out->of)
        return no_memory(&view->layers[0], err);
    for (size_t i = 0; !rc && i < view->n; i++)
        rc = bm_image_bitmaps_read(view->layers[i].path, view->layers[i].format,
                                   &out->of[i], err);
    return rc;
}

/* libvirt takes layers from the uppermost one down to the first without it. */
static size_t end_of(const struct layers *layers, size_t first,
                     const char *name)
{
    size_t end = first;

    while (end < layers->view->n &&
           bm_image_bitmaps_find(&layers->of[end], name))
        end++;
    return end;
}

/* One that records must do so in the uppermost layer too; one that does not
 * record is as good anywhere. */
static bool usable(const struct layers *layers, size_t first, const char *name)
{
    size_t end = end_of(layers, first, name);

    if (first > 0 && bm_image_bitmaps_find(&layers->of[first], name)->enabled)
        return false;
    for (size_t i = first; i < end; i++)
        if (bm_image_bitmaps_find(&layers->of[i], name)->broken)
            return false;
    return true;
}

/* A layer above has it too. */
static bool seen(const struct layers *layers, size_t first, const char *name)
{
    for (size_t i = 0; i < first; i++)
        if (bm_image_bitmaps_find(&layers->of[i], name))
            return true;
    return false;
}

/* --- carrying --- */

struct layer_range {
    size_t first, end; /* layers of the view that go into the image */
    const struct bm_layer *image;
    const struct bm_image_bitmaps *there; /* not to be touched */
    struct bm_carried *carried;
};

static int carry_one(const struct layers *layers, size_t first, size_t end,
                     const struct bm_image_bitmap *bitmap,
                     const struct bm_layer *image, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = first; !rc && i < end; i++)
        rc = bm_image_bitmap_take(
            image->path, bitmap, layers->view->layers[i].path, i == first, err);
    return rc;
}

/* One that `top` is the uppermost layer of. */
static int carry_name(const struct layers *layers, size_t top,
                      const struct bm_image_bitmap *bitmap,
                      const struct layer_range *range, struct bm_error *err)
{
    size_t first = top > range->first ? top : range->first;
    size_t end = end_of(layers, top, bitmap->name);
    bool lost = strcmp(range->image->format, "qcow2") != 0 ||
                !usable(layers, top, bitmap->name);
    int rc = 0;

    if (end > range->end)
        end = range->end;
    if (first >= end || bm_image_bitmaps_find(range->there, bitmap->name))
        return 0;
    if (!lost)
        rc = carry_one(layers, first, end, bitmap, range->image, err);
    if (!rc && name_it(lost ? &range->carried->lost : &range->carried->names,
                       bitmap->name))
        rc = no_memory(range->image, err);
    return rc;
}

static int carry(const struct bm_chain *view, const struct layer_range *range,
                 struct bm_error *err)
{
    struct layers layers = {0};
    int rc = layers_read(view, &layers, err);

    for (size_t i = 0; !rc && i < range->end; i++)
        for (size_t b = 0; !rc && b < layers.of[i].n; b++) {
            const struct bm_image_bitmap *bitmap = &layers.of[i].list[b];

            if (!seen(&layers, i, bitmap->name))
                rc = carry_name(&layers, i, bitmap, range, err);
        }
    if (!rc && range->carried->names)
        rc = bm_fsync_file(range->image->path, err);
    layers_clear(&layers);
    return rc;
}

int bm_bitmaps_carry(const struct bm_chain *view, size_t first, size_t n,
                     const struct bm_layer *image, struct bm_carried *carried,
                     struct bm_error *err)
{
    static const struct bm_image_bitmaps none;
    const struct layer_range range = {first, first + n, image, &none, carried};
    struct bm_image_bitmaps old;
    int rc = bm_image_bitmaps_read(image->path, image->format, &old, err);

    memset(carried, 0, sizeof *carried);
    if (rc)
        return rc;
    /* what a dead process left there, or what the copy went through since */
    for (size_t i = 0; !rc && i < old.n; i++)
        rc = bm_image_bitmap_remove(image->path, old.list[i].name, err);
    bm_image_bitmaps_clear(&old);
    return rc ? rc : carry(view, &range, err);
}

int bm_bitmaps_add(const struct bm_chain *view, size_t n,
                   const struct bm_layer *image, struct bm_error *err)
{
    struct bm_carried carried = {0};
    struct bm_image_bitmaps there;
    const struct layer_range range = {0, n, image, &there, &carried};
    int rc = bm_image_bitmaps_read(image->path, image->format, &there, err);

    if (rc)
        return rc;
    rc = carry(view, &range, err);
    bm_image_bitmaps_clear(&there);
    bm_carried_clear(&carried);
    return rc;
}

/* --- a disk of the job --- */

static int move_layer(struct bm_run *run, size_t i, size_t layer,
                      const struct bm_chain *view, size_t first, size_t n,
                      struct bm_error *err)
{
    struct bm_job_disk *plan = &run->job->disks[i];
    const struct bm_layer *image = &bm_job_new_image(plan)[layer];
    struct bm_carried carried;
    int rc = bm_bitmaps_carry(view, first, n, image, &carried, err);

    if (!rc && carried.names)
        bm_target_keep_time(plan, layer); /* that was us */
    if (!rc && carried.names)
        rc = bm_run_note(run, err, "dirty bitmaps carried over to %s: %s",
                         image->path, carried.names);
    if (!rc && carried.lost)
        rc = bm_run_note(run, err,
                         "dirty bitmaps not carried over to %s: %s (%s)",
                         image->path, carried.lost,
                         strcmp(image->format, "qcow2")
                             ? "it cannot hold any"
                             : "not whole in each layer, and of no use");
    bm_carried_clear(&carried);
    return rc;
}

int bm_bitmaps_move(struct bm_run *run, size_t i, int skip,
                    struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_chain view = bm_job_below(plan, skip);
    size_t top = (size_t)(plan->overlays.n_source - skip) + bm_job_own(plan);
    int rc = move_layer(run, i, 0, &view, 0, top, err);

    for (size_t k = 1; !rc && k <= plan->n_lower; k++)
        rc = move_layer(run, i, k, &view, top + k - 1, 1, err);
    return rc;
}
