// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Preflight of a rescue: its map, and the copy that is to fill it. */
#include "blockmig/image/owned-file.h"
#include "blockmig/preflight/preflight-private.h"
#include "nbd/base/cleanup.h"
#include "nbd/device/device.h"

#include <errno.h>
#include <string.h>

static int check_map(const struct bm_preflight_context *look,
                     const struct bm_job_disk *disk)
{
    BM_FREE char *folder =
        disk->rescue.map ? bm_file_folder(disk->rescue.map) : NULL;

    if (!disk->rescue.map)
        return 0;
    if (!folder)
        return -ENOMEM;
    if (access(disk->rescue.map, F_OK) == 0)
        return BM_REFUSED(look, "mapfile", disk->target,
                          "give another name: a job goes on by its map with "
                          "'blockmig job resume'",
                          "%s exists", disk->rescue.map);
    if (access(folder, W_OK | X_OK) != 0)
        return BM_REFUSED(
            look, "mapfile", disk->target, "give a folder that can be written",
            "no file can be made in %s: %s", folder, strerror(errno));
    return BM_FINE(look, "mapfile", disk->target, "%s can be made",
                   disk->rescue.map);
}

static int check_fill(const struct bm_preflight_context *look,
                      const struct bm_job_disk *disk)
{
    const char *from = look->job->request.fill_from;
    struct bm_error why = BM_ERROR_INIT;
    const struct bm_open how = {0};
    struct bm_device *other = NULL;
    uint64_t size;

    if (bm_device_open(from, &how, &other, &why) != 0)
        return BM_REFUSED(look, "fill-from", disk->target, why.remedy, "%s: %s",
                          why.what, why.cause);
    size = other->size;
    bm_device_close(other);
    if (size != disk->fixed.capacity)
        return BM_REFUSED(
            look, "fill-from", disk->target, "give a copy of this disk",
            "%s has %llu bytes, the disk %llu", from, (unsigned long long)size,
            (unsigned long long)disk->fixed.capacity);
    return BM_FINE(look, "fill-from", disk->target, "%s is as large", from);
}

/* What is unreadable is listed by guest offset, and a layer has none. */
static int check_chain(const struct bm_preflight_context *look,
                       const struct bm_job_disk *disk)
{
    return disk->below ? BM_REFUSED(look, "rescue-chain", disk->target,
                                    "give --chain flatten",
                                    "its chain is kept, and only one image is "
                                    "rescued")
                       : 0;
}

int bm_preflight_rescue(const struct bm_preflight_context *look)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < look->job->n_disks; i++) {
        rc = check_chain(look, &look->job->disks[i]);
        if (!rc)
            rc = check_map(look, &look->job->disks[i]);
        if (!rc && look->job->request.fill_from)
            rc = check_fill(look, &look->job->disks[i]);
    }
    return rc;
}
