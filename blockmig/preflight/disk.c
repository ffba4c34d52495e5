// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Preflight of one disk: the rows of the table "preflight by device", and
 * what its image says.
 */
#include "blockmig/preflight/preflight-private.h"
#include "nbd/image/qemu-img.h"
#include "nbd/base/paths.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What libvirt or QEMU cannot move at all, by a look at the disk's XML. */
static const char *impossible(const struct bm_disk *disk, const char **name,
                              const char **remedy)
{
    const struct bm_layer *top = disk->chain.n ? &disk->chain.layers[0] : NULL;

    *remedy = "leave the disk out";
    if (!strcmp(disk->device, "cdrom") || !strcmp(disk->device, "floppy"))
        return *name = "device", "cdroms and floppies are not moved";
    if (!top || top->type == BM_SOURCE_NONE)
        return *name = "empty", "the drive is empty";
    if (!strcmp(disk->device, "lun"))
        return *name = "lun",
               "a device='lun' passes SCSI commands to its block device";
    if (disk->bus && !strcmp(disk->bus, "sd"))
        return *name = "bus", "libvirt has no block jobs for bus='sd'";
    if (disk->shareable)
        return *name = "shareable", "other guests that share the disk would "
                                    "stay on the old image";
    if (disk->transient)
        return *name = "transient", "libvirt refuses to copy a <transient/> "
                                    "disk";
    if (disk->encrypted)
        return *name = "encryption",
               "the disk is encrypted and no secret for the target is known: "
               "the copy would be plain";
    if (disk->sliced)
        return *name = "slice", "the image is a slice in the middle of a "
                                "larger file";
    if (disk->copy_on_read) {
        *remedy = "set copy_on_read='off' and start the guest anew";
        return *name = "copy-on-read",
               "copy_on_read='on' leaves the old image open after a pivot";
    }
    return NULL;
}

static int check_kind(const struct bm_preflight_context *look,
                      const struct bm_job_disk *plan,
                      const struct bm_disk *disk)
{
    const char *name = NULL, *remedy = NULL;
    const char *why = impossible(disk, &name, &remedy);

    if (why)
        return BM_REFUSED(look, name, plan->target, remedy, "%s", why);
    return BM_FINE(look, "device", plan->target, "bus %s, device %s",
                   disk->bus ? disk->bus : "unknown", disk->device);
}

static int check_job(const struct bm_preflight_context *look,
                     const struct bm_job_disk *plan, const struct bm_disk *disk)
{
    if (disk->mirror)
        return BM_REFUSED(look, "block-job", plan->target,
                          "wait for its end or abort it, see virsh blockjob",
                          "the disk has a block job (%s)",
                          disk->mirror_job ? disk->mirror_job : "unknown");
    return BM_FINE(look, "block-job", plan->target, "no block job");
}

/* QEMU pauses the guest when our overlay finds no room, unless it is told not
 * to: then the guest sees an error. */
static int check_policy(const struct bm_preflight_context *look,
                        const struct bm_job_disk *plan,
                        const struct bm_disk *disk)
{
    const char *policy = disk->error_policy;

    if (!policy ||
        (strcmp(policy, "report") != 0 && strcmp(policy, "ignore") != 0))
        return 0;
    return BM_WARNED(look, "error-policy", plan->target,
                     "leave it out of the XML, or see to it that there is room",
                     "error_policy='%s': should our overlay run out of room, "
                     "the guest is not paused but %s",
                     policy,
                     !strcmp(policy, "report") ? "sees an I/O error"
                                               : "loses what it wrote");
}

/* Every layer must be a file or device that we can read. */
static int check_layers(const struct bm_preflight_context *look,
                        const struct bm_job_disk *plan, bool *readable)
{
    *readable = false;
    for (size_t i = 0; i < plan->source.n; i++) {
        const struct bm_layer *layer = &plan->source.layers[i];

        if ((layer->type != BM_SOURCE_FILE && layer->type != BM_SOURCE_BLOCK) ||
            !layer->format)
            return BM_REFUSED(look, "source", plan->target,
                              "only files and block devices of a stated "
                              "format are moved so far",
                              "its image %s is of type %s, format %s",
                              layer->path ? layer->path : "",
                              bm_source_type_name(layer->type),
                              layer->format ? layer->format : "not stated");
        if (access(layer->path, R_OK) < 0)
            return BM_REFUSED(look, "source", plan->target,
                              "run blockmig as a user who can read it",
                              "cannot read %s: %s", layer->path,
                              strerror(errno));
    }
    *readable = plan->source.n > 0;
    return BM_FINE(look, "source", plan->target, "%zu layer%s, all readable",
                   plan->source.n, plan->source.n == 1 ? "" : "s");
}

/* stays: the layer is not moved, only read through. */
static int check_header(const struct bm_preflight_context *look,
                        const struct bm_job_disk *plan,
                        const struct bm_layer *layer, bool stays)
{
    struct bm_error why = BM_ERROR_INIT;
    struct bm_image_info info;
    int rc = bm_image_read_info(layer->path, layer->format, &info, &why);

    if (rc)
        return BM_REFUSED(look, "image", plan->target, "see qemu-img info -U",
                          "cannot read the header of "
                          "%s: %s",
                          layer->path, why.cause);
    if (info.snapshots && !stays)
        rc = BM_REFUSED(look, "internal-snapshots", plan->target,
                        "delete them (qemu-img snapshot -d) with the guest "
                        "off",
                        "%s holds %u internal snapshots, which no copy would "
                        "carry over",
                        layer->path, info.snapshots);
    else if (info.encrypted)
        rc = BM_REFUSED(look, "encryption", plan->target, "leave the disk out",
                        "%s is encrypted", layer->path);
    else if (info.data_file)
        rc = BM_REFUSED(look, "data-file", plan->target, "leave the disk out",
                        "%s has an external data file", layer->path);
    /* libvirt makes the new image of the same kind; see overlay-image.h */
    else if (look->job->plan.strategy == BM_STRATEGY_PULL && info.options &&
             strstr(info.options, "extended_l2=on"))
        rc = BM_REFUSED(look, "extended-l2", plan->target,
                        "use --strategy staged",
                        "%s has extended L2 entries: QEMU ends a guest while "
                        "it pulls into such an image",
                        layer->path);
    bm_image_info_clear(&info);
    return rc;
}

static int check_headers(const struct bm_preflight_context *look,
                         const struct bm_job_disk *plan)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < plan->source.n; i++)
        if (strcmp(plan->source.layers[i].format, "raw") != 0)
            rc = check_header(look, plan, &plan->source.layers[i],
                              plan->below && i > plan->n_lower);
    return rc;
}

/* The saved XML must name the same image, or a restart would bring back the
 * old one (docs/pitfalls.md P12). */
static int check_saved_xml(const struct bm_preflight_context *look,
                           const struct bm_job_disk *plan,
                           const struct bm_disk *disk)
{
    const char *live = disk->chain.layers[0].path;
    const char *saved = disk->inactive.n ? disk->inactive.layers[0].path : NULL;

    if (!look->domain->active || !look->domain->persistent)
        return 0;
    if (!saved)
        return BM_WARNED(look, "saved-xml", plan->target,
                         "virsh attach-disk --config if it shall stay",
                         "the saved XML does not have the disk");
    if (!strcmp(live, saved))
        return BM_FINE(look, "saved-xml", plan->target,
                       "live and saved XML agree");
    if (bm_same_file(live, saved))
        return BM_WARNED(look, "saved-xml", plan->target, NULL,
                         "the saved XML names the same image as %s; it will "
                         "name the new one",
                         saved);
    return BM_REFUSED(
        look, "saved-xml", plan->target, "make them agree with virsh edit",
        "the guest runs on %s, but the saved XML names %s", live, saved);
}

static int check_link(const struct bm_preflight_context *look,
                      const struct bm_job_disk *plan)
{
    struct stat st;

    if (lstat(plan->source.layers[0].path, &st) < 0 || !S_ISLNK(st.st_mode))
        return 0;
    return BM_WARNED(look, "symlink", plan->target, NULL,
                     "%s is a symbolic link; the link stays, and points to "
                     "the old image",
                     plan->source.layers[0].path);
}

static int check_capacity(const struct bm_preflight_context *look,
                          const struct bm_job_disk *plan)
{
    if (plan->fixed.capacity == 0)
        return BM_REFUSED(look, "size", plan->target, "see virsh domblkinfo",
                          "the size of the disk is not known");
    if (plan->fixed.capacity % 512)
        return BM_REFUSED(look, "size", plan->target,
                          "round the image up with qemu-img resize",
                          "its size, %llu, is no multiple of 512",
                          (unsigned long long)plan->fixed.capacity);
    return BM_FINE(look, "size", plan->target, "%llu bytes",
                   (unsigned long long)plan->fixed.capacity);
}

int bm_preflight_disk(const struct bm_preflight_context *look,
                      const struct bm_job_disk *plan, struct bm_disk *disk,
                      struct bm_error *err)
{
    bool before = look->list->refused, readable = false;
    int rc;

    (void)err;
    look->list->refused = false;
    rc = check_kind(look, plan, disk);
    if (!rc && !look->list->refused) {
        rc = check_job(look, plan, disk);
        if (!rc)
            rc = check_policy(look, plan, disk);
        if (!rc)
            rc = check_layers(look, plan, &readable);
        if (!rc && readable)
            rc = check_headers(look, plan);
        if (!rc && readable)
            rc = check_saved_xml(look, plan, disk);
        if (!rc && readable)
            rc = check_link(look, plan);
        if (!rc)
            rc = check_capacity(look, plan);
    }
    look->list->refused |= before;
    return rc;
}
