// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/doctor/doctor.h"
#include "blockmig/image/manifest-store.h"
#include "nbd/image/qemu-img.h"
#include "nbd/image/image-lock.h"
#include "nbd/base/paths.h"
#include "blockmig/image/overlay-image.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *disk_of(const struct bm_doctor *d,
                           const struct bm_tree_image *image)
{
    return image->disk < 0 ? "" : d->domain->disks[image->disk].target;
}

static int missing(struct bm_doctor *d, const struct bm_tree_image *image)
{
    return bm_doctor_found(
        d, false, "missing", disk_of(d, image),
        "bring the file back; what stands on it cannot be read without it",
        "%s is not there", image->layer.path);
}

/* Who could not open it is told by libvirt only when the guest starts. */
static int check_owner(struct bm_doctor *d, const struct bm_tree_image *image)
{
    const struct bm_tree_image *top = NULL;
    struct stat st, other;

    for (size_t i = 0; i < d->tree->n && !top; i++)
        if (d->tree->list[i].top && d->tree->list[i].disk == image->disk)
            top = &d->tree->list[i];
    if (access(image->layer.path, R_OK) != 0)
        return bm_doctor_found(d, false, "unreadable", disk_of(d, image),
                               "chown or chmod it", "%s: %s", image->layer.path,
                               strerror(errno));
    if (image->layer.type != BM_SOURCE_FILE || !top || top == image ||
        stat(image->layer.path, &st) != 0 ||
        stat(top->layer.path, &other) != 0 || st.st_uid == other.st_uid ||
        access(image->layer.path, W_OK) == 0)
        return 0;
    return bm_doctor_found(
        d, false, "owner", disk_of(d, image), "chown it, if it is to be merged",
        "%s belongs to another user (%u) than %s", image->layer.path,
        (unsigned)st.st_uid, top->layer.path);
}

/* A frozen layer that somebody writes to. */
static int check_lock(struct bm_doctor *d, const struct bm_tree_image *image)
{
    struct bm_error ignored = BM_ERROR_INIT;
    bool written = false;

    if (image->top && d->domain->active)
        return 0;
    if (bm_image_written(image->layer.path, &written, &ignored) || !written)
        return 0;
    return bm_doctor_found(d, false, "written", disk_of(d, image),
                           "find out who (lslocks, fuser), and stop that",
                           "%s is open for writing, and %s", image->layer.path,
                           image->top ? "the guest is off" : "it is frozen");
}

/* --- headers --- */

static int check_format(struct bm_doctor *d, const struct bm_tree_image *image,
                        const struct bm_image_info *info)
{
    const struct bm_tree_image *below =
        image->below < 0 ? NULL : &d->tree->list[image->below];
    struct bm_error why = BM_ERROR_INIT;

    if (!info->backing || info->backing_format)
        return 0;
    /* the XML says it, and nobody has the header open */
    if (d->fix && below && below->layer.format && !d->domain->active &&
        bm_same_file(info->backing, below->layer.path) &&
        bm_commit_rebase(image->layer.path, &below->layer, &why) == 0)
        return bm_doctor_found(d, true, "backing-format", disk_of(d, image),
                               NULL, "%s names the format of %s",
                               image->layer.path, info->backing);
    return bm_doctor_found(d, false, "backing-format", disk_of(d, image),
                           "qemu-img rebase -u -F FORMAT -b FILE, with the "
                           "guest off",
                           "%s names its backing file %s without a format",
                           image->layer.path, info->backing);
}

static int check_header(struct bm_doctor *d, const struct bm_tree_image *image)
{
    const struct bm_tree_image *below =
        image->below < 0 ? NULL : &d->tree->list[image->below];
    struct bm_error why = BM_ERROR_INIT;
    struct bm_image_info info, under;
    int rc;

    if (bm_image_read_info(image->layer.path, image->layer.format, &info, &why))
        return bm_doctor_found(d, false, "header", disk_of(d, image),
                               "see qemu-img info and qemu-img check",
                               "cannot read %s: %.300s", image->layer.path,
                               why.cause[0] ? why.cause : why.what);
    rc = check_format(d, image, &info);
    if (!rc && info.relative)
        rc = bm_doctor_found(d, false, "relative", disk_of(d, image),
                             "keep both files in one folder",
                             "%s names its backing file without the folder",
                             image->layer.path);
    if (!rc && info.snapshots)
        rc = bm_doctor_found(d, false, "mixed", disk_of(d, image),
                             "delete them (qemu-img snapshot -d) before a "
                             "merge",
                             "%s holds %u internal snapshots beside the "
                             "external ones",
                             image->layer.path, info.snapshots);
    if (!rc && below && below->there &&
        bm_image_read_info(below->layer.path, below->layer.format, &under,
                           &why) == 0) {
        if (under.virtual_size > info.virtual_size)
            rc = bm_doctor_found(d, false, "size", disk_of(d, image),
                                 "qemu-img resize it",
                                 "%s is smaller than %s, which it stands on",
                                 image->layer.path, below->layer.path);
        bm_image_info_clear(&under);
    }
    bm_image_info_clear(&info);
    return rc;
}

/* The tables of what nobody writes to. */
static int check_tables(struct bm_doctor *d, const struct bm_tree_image *image)
{
    struct bm_error why = BM_ERROR_INIT;
    int rc;

    if (image->live || !image->layer.format ||
        strcmp(image->layer.format, "qcow2") != 0)
        return 0;
    rc = bm_image_check(image->layer.path, image->layer.format, &why);
    if (rc != -EUCLEAN)
        return 0;
    return bm_doctor_found(d, false, "damaged", disk_of(d, image),
                           "copy it away first; then qemu-img check -r",
                           "%s has errors by qemu-img check",
                           image->layer.path);
}

static int check_kept(struct bm_doctor *d, const struct bm_tree_image *image,
                      struct bm_error *err)
{
    const struct bm_manifest_store manifests = {bm_job_store_dir(d->jobs),
                                                d->domain->uuid};
    enum bm_kept kept;
    int rc = bm_manifest_store_look(&manifests, image->layer.path, &kept, err);

    if (rc || kept == BM_KEPT_NONE || kept == BM_KEPT_SAME)
        return rc;
    return bm_doctor_found(
        d, false, kept == BM_KEPT_WRONG ? "wrong" : "changed",
        disk_of(d, image),
        "'blockmig snapshot verify' of the domain tells what differs",
        kept == BM_KEPT_WRONG
            ? "%s is not what it was when its digests were noted"
            : "%s was replaced, or written to, since its digests were noted",
        image->layer.path);
}

/* --- who else --- */

/* An overlay that no domain and no snapshot names. */
static int check_stranger(struct bm_doctor *d,
                          const struct bm_tree_image *image)
{
    bool all_there = true;

    if (!image->stray || bm_doctor_of_job(d, image->layer.path))
        return 0;
    for (size_t i = 0; i < d->tree->n; i++)
        all_there &= d->tree->list[i].there;
    return bm_doctor_found(d, false, "orphan", disk_of(d, image),
                           all_there ? "if nobody needs it, delete it: it is "
                                       "in the way of merges"
                                     : "keep it: it may be a missing image "
                                       "under another name",
                           "%s stands on an image of the domain, and no domain "
                           "or snapshot names it",
                           image->layer.path);
}

static int check_doubled(struct bm_doctor *d, const struct bm_tree_image *image)
{
    if (!image->top || !image->other)
        return 0;
    return bm_doctor_found(d, false, "doubled", disk_of(d, image),
                           "give one of them another image before either "
                           "starts",
                           "%s is this domain's disk, and %s names it too",
                           image->layer.path, image->other);
}

static int check_image(struct bm_doctor *d, const struct bm_tree_image *image,
                       struct bm_error *err)
{
    int rc;

    if (image->layer.type != BM_SOURCE_FILE &&
        image->layer.type != BM_SOURCE_BLOCK)
        return 0;
    if (!image->there)
        return missing(d, image);
    if (image->other && !image->top && !image->layer.format)
        return check_stranger(d, image);
    rc = check_doubled(d, image);
    if (!rc)
        rc = check_owner(d, image);
    if (!rc && image->broken)
        rc = bm_doctor_found(d, false, "chain", disk_of(d, image),
                             "see qemu-img info", "%s: %.300s",
                             image->layer.path, image->broken);
    if (!rc && access(image->layer.path, R_OK) == 0)
        rc = check_header(d, image);
    if (!rc)
        rc = check_lock(d, image);
    if (!rc)
        rc = check_tables(d, image);
    return rc ? rc : check_kept(d, image, err);
}

int bm_doctor_images(struct bm_doctor *d, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < d->tree->n; i++)
        rc = check_image(d, &d->tree->list[i], err);
    if (rc || !d->tree->unread)
        return rc;
    return bm_doctor_found(d, false, "unread", "",
                           "make it readable, or move it out of the folder",
                           "whether it stands on images of %s nobody knows, so "
                           "none is merged: %s",
                           d->domain->name, d->tree->unread);
}
