// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the XML and libvirt's metadata say, against what is there.
 */
#include "blockmig/doctor/doctor.h"
#include "nbd/base/paths.h"
#include "snapshot/tree/image-tree-index.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* --- disks --- */

/* Live and saved. A guest that is started anew comes up with the saved one. */
static int check_saved(struct bm_doctor *d, const struct bm_disk *disk)
{
    const char *live = disk->chain.n ? disk->chain.layers[0].path : NULL;
    const char *saved = disk->inactive.n ? disk->inactive.layers[0].path : NULL;

    if (!d->domain->active || !d->domain->persistent || !live || !saved ||
        bm_same_file(live, saved))
        return 0;
    return bm_doctor_found(d, false, "saved-xml", disk->target,
                           "virsh edit; the guest's newest data is in the "
                           "first",
                           "the guest runs on %s, and would be started on %s",
                           live, saved);
}

/* The chain that the XML lists to its end, against the headers. */
static int check_headers(struct bm_doctor *d, const struct bm_disk *disk)
{
    struct bm_chain header = {0};
    struct bm_error why = BM_ERROR_INIT;
    int rc = 0;

    if (!disk->chain.n || !disk->chain.complete ||
        disk->chain.layers[0].type != BM_SOURCE_FILE)
        return 0;
    if (bm_chain_add(&header, &disk->chain.layers[0]) < 0)
        return -ENOMEM;
    if (bm_chain_complete(&header, &why) == 0 && header.n != disk->chain.n)
        rc = 1;
    for (size_t l = 0; !rc && l < header.n && l < disk->chain.n; l++)
        if (header.layers[l].path && disk->chain.layers[l].path &&
            !bm_same_file(header.layers[l].path, disk->chain.layers[l].path))
            rc = 1;
    if (rc)
        rc = bm_doctor_found(d, false, "xml-chain", disk->target,
                             "find out which is right before the guest is "
                             "started anew: it will be on what the XML lists",
                             "the XML lists another chain than the headers of "
                             "its images");
    bm_chain_clear(&header);
    return rc;
}

int bm_doctor_disks(struct bm_doctor *d, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < d->domain->n_disks; i++) {
        rc = check_saved(d, &d->domain->disks[i]);
        if (!rc)
            rc = check_headers(d, &d->domain->disks[i]);
    }
    return rc;
}

/* --- restore points --- */

static size_t missing_images(const struct bm_doctor *d,
                             const struct bm_restore_point *point,
                             size_t *external)
{
    size_t missing = 0;

    *external = 0;
    for (size_t k = 0; k < point->n_disks; k++) {
        const struct bm_restore_point_disk *disk = &point->disks[k];

        if (!disk->external)
            continue;
        (*external)++;
        missing += !disk->image.n || !disk->image.layers[0].path ||
                   access(disk->image.layers[0].path, F_OK) != 0;
    }
    return missing;
}

/* That an image is not there says something only where its store is: one of the
 * domain's is in that folder. */
static bool store_is_there(const struct bm_doctor *d, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;

    for (size_t i = 0; i < d->tree->n; i++) {
        const char *other = d->tree->list[i].layer.path;

        if (d->tree->list[i].there && other && !strncmp(other, path, len) &&
            !strchr(other + len, '/'))
            return access(path, F_OK) != 0 && errno == ENOENT;
    }
    return false;
}

static bool is_gone(const struct bm_doctor *d,
                    const struct bm_restore_point *point)
{
    for (size_t k = 0; k < point->n_disks; k++) {
        const struct bm_restore_point_disk *disk = &point->disks[k];

        if (disk->external && disk->image.n && disk->image.layers[0].path &&
            !store_is_there(d, disk->image.layers[0].path))
            return false;
    }
    return true;
}

/* Nothing of it is left: its name only deceives. */
static int check_missing(struct bm_doctor *d,
                         const struct bm_restore_point *point,
                         struct bm_error *err)
{
    size_t external, missing = missing_images(d, point, &external);

    if (!missing)
        return 0;
    if (missing < external || !d->fix || !is_gone(d, point))
        return bm_doctor_found(
            d, false, "point", "",
            missing == external
                ? "bring its images, or their store, back; where another image "
                  "of the domain is beside them --fix takes it off the list"
                : "bring them back, or delete the restore point",
            "restore point %s: missing images: %zu of %zu", point->name,
            missing, external);
    if (bm_snapshot_forget(d->domain, point->name, err) != 0)
        return -err->code;
    return bm_doctor_found(d, true, "point", "", NULL,
                           "restore point %s, none of whose images is there, "
                           "is taken off the list",
                           point->name);
}

static int check_memory(struct bm_doctor *d,
                        const struct bm_restore_point *point)
{
    if (!point->memory || access(point->memory, R_OK) == 0)
        return 0;
    return bm_doctor_found(d, false, "memory", "", "bring that file back",
                           "restore point %s: its memory %s: %s", point->name,
                           point->memory, strerror(errno));
}

static int check_internal(struct bm_doctor *d,
                          const struct bm_restore_point *point)
{
    bool external = false;

    if (!bm_restore_point_internal(point))
        return 0;
    for (size_t p = 0; p < d->points->n; p++)
        external |= !bm_restore_point_internal(&d->points->list[p]);
    if (!external)
        return 0;
    return bm_doctor_found(d, false, "mixed", "",
                           "delete it with virsh snapshot-delete",
                           "restore point %s is internal, and others are "
                           "external",
                           point->name);
}

/* A point whose state is a layer that guests write to is none. */
static int check_frozen(struct bm_doctor *d,
                        const struct bm_restore_point *point)
{
    int rc = 0;

    for (size_t k = 0; !rc && k < point->n_disks; k++) {
        const struct bm_restore_point_disk *disk = &point->disks[k];
        int i = disk->external && disk->image.n
                    ? bm_tree_index(d->tree, disk->image.layers[0].path)
                    : -1;

        if (i >= 0 && d->tree->list[i].top)
            rc = bm_doctor_found(
                d, false, "not-frozen", disk->target,
                "its state is lost if the guest has run since; delete it",
                "restore point %s: a disk stands on its image %s itself",
                point->name, disk->image.layers[0].path);
    }
    return rc;
}

int bm_doctor_points(struct bm_doctor *d, struct bm_error *err)
{
    int rc = 0;

    for (size_t p = 0; !rc && p < d->points->n; p++) {
        const struct bm_restore_point *point = &d->points->list[p];

        rc = check_missing(d, point, err);
        if (!rc)
            rc = check_memory(d, point);
        if (!rc)
            rc = check_internal(d, point);
        if (!rc)
            rc = check_frozen(d, point);
    }
    return rc;
}
