// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Preflight of a merge: the images that go, and the one that takes them.
 */
#include "blockmig/datastore/space-required.h"
#include "blockmig/preflight/preflight-private.h"
#include "nbd/image/qemu-img.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* For the source overlay, while the merge runs. */
#define FRONT_ROOM (64ULL << 20)

/* What a merge cannot take along. */
static int check_image(const struct bm_preflight_context *look,
                       const struct bm_job_merge *merge,
                       const struct bm_layer *layer, uint64_t *size)
{
    struct bm_error why = BM_ERROR_INIT;
    struct bm_image_info info;
    int rc;

    *size = 0;
    if ((layer->type != BM_SOURCE_FILE && layer->type != BM_SOURCE_BLOCK) ||
        !layer->format || layer->sliced)
        return BM_REFUSED(look, "image", merge->target, "leave the disk out",
                          "%s is no whole file or device of a stated format",
                          layer->path ? layer->path : "an image");
    if (bm_image_read_info(layer->path, layer->format, &info, &why))
        return BM_REFUSED(look, "image", merge->target, "see qemu-img info -U",
                          "cannot read %s: %.300s", layer->path,
                          why.cause[0] ? why.cause : why.what);
    *size = info.virtual_size;
    rc = 0;
    if (info.snapshots)
        rc = BM_REFUSED(look, "internal-snapshots", merge->target,
                        "delete them first",
                        "%s holds %u internal snapshots, which would be lost",
                        layer->path, info.snapshots);
    else if (info.encrypted || layer->encrypted)
        rc = BM_REFUSED(look, "encryption", merge->target, "leave the disk out",
                        "%s is encrypted", layer->path);
    else if (info.data_file)
        rc = BM_REFUSED(look, "data-file", merge->target, "leave the disk out",
                        "%s has an external data file", layer->path);
    bm_image_info_clear(&info);
    return rc;
}

/* What is below must not show where the one above had ended, nor the guest see
 * another size. */
static int check_sizes(const struct bm_preflight_context *look,
                       const struct bm_job_merge *merge, uint64_t above,
                       uint64_t size, const struct bm_layer *layer)
{
    if (above && size > above)
        return BM_REFUSED(look, "size", merge->target,
                          "make the layers above as large (qemu-img resize)",
                          "%s is larger than what stands on it", layer->path);
    if (above > size && layer == bm_merge_base(merge) &&
        layer->type == BM_SOURCE_BLOCK)
        return BM_REFUSED(look, "size", merge->target, "make the device larger",
                          "the device %s is smaller than the disk",
                          layer->path);
    return 0;
}

static int check_layers(const struct bm_preflight_context *look,
                        const struct bm_job_merge *merge)
{
    uint64_t above = 0, size = 0;
    int rc = 0;

    for (size_t l = 0; !rc && l < merge->layers.n; l++) {
        const struct bm_layer *layer = &merge->layers.layers[l];

        rc = check_image(look, merge, layer, &size);
        if (!rc)
            rc = check_sizes(look, merge, above, size, layer);
        above = size;
    }
    return rc;
}

static int check_writable(const struct bm_preflight_context *look,
                          const struct bm_job_merge *merge)
{
    const char *path = bm_merge_base(merge)->path;

    if (access(path, W_OK) == 0)
        return BM_FINE(look, "base", merge->target, "%s takes writes", path);
    return BM_REFUSED(look, "base", merge->target,
                      "make its store writable, or leave the disk out",
                      "%s takes no writes: %s", path, strerror(errno));
}

/* --- room --- */

/* What may fall into holes of the base. */
static uint64_t growth(const struct bm_job_merge *merge)
{
    const struct bm_layer *base = bm_merge_base(merge);

    return merge->layers.n > 1 && base->type == BM_SOURCE_FILE ? merge->held
                                                               : 0;
}

static int check_space(const struct bm_preflight_context *look,
                       struct bm_error *err)
{
    const struct bm_job *job = look->job;
    struct bm_space_required required = BM_SPACE_REQUIRED_INIT;
    int rc = 0;

    for (size_t k = 0; !rc && k < job->snapshot->n_merges; k++) {
        const struct bm_job_merge *merge = &job->snapshot->merges[k];

        rc = bm_space_required_add(&required, bm_merge_base(merge)->path,
                                   growth(merge), false);
    }
    for (size_t i = 0; !rc && look->domain->active && i < job->n_disks; i++)
        rc = bm_space_required_add(&required,
                                   job->disks[i].fixed.source_overlay_dir,
                                   FRONT_ROOM, true);
    for (size_t i = 0; !rc && i < required.n; i++) {
        const struct bm_space_need *it = &required.all[i];

        rc = bm_preflight_need(look, it,
                               it->written ? 2 * bm_ballast_size(it->path) : 0,
                               "make room there");
    }
    bm_space_required_clear(&required);
    return rc ? bm_fail_errno(err, -rc, "cannot check the room") : 0;
}

int bm_preflight_merge(struct bm_connection *conn, struct bm_domain *domain,
                       const struct bm_job *job, struct bm_preflight *preflight,
                       struct bm_error *err)
{
    const struct bm_preflight_context look = {conn, domain, NULL, job,
                                              preflight};
    int rc = bm_preflight_domain(&look, err);

    if (!rc)
        rc = bm_preflight_no_checkpoints(&look);
    for (size_t i = 0; !rc && i < job->n_disks; i++) {
        struct bm_disk *disk = bm_domain_disk(domain, job->disks[i].target);

        rc = disk ? bm_preflight_disk(&look, &job->disks[i], disk, err)
                  : BM_REFUSED(&look, "disk", job->disks[i].target, NULL,
                               "the disk is gone");
    }
    for (size_t k = 0; !rc && k < job->snapshot->n_merges; k++) {
        const struct bm_job_merge *merge = &job->snapshot->merges[k];

        if (merge->layers.n < 2)
            continue;
        rc = check_layers(&look, merge);
        if (!rc)
            rc = check_writable(&look, merge);
    }
    if (!rc)
        rc = check_space(&look, err);
    return rc == -ENOMEM ? bm_fail_errno(err, ENOMEM, "cannot check the merge")
                         : rc;
}
