// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/overlay-image.h"

#include "blockmig/image/owned-file.h"
#include "nbd/exec/run-program.h"
#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img.h"
#include "nbd/base/fsync.h"
#include "blockmig/image/frozen-chain.h"
#include "nbd/digest/digest.h"
#include "nbd/map/bitmap.h"

#include <errno.h>
#include <inttypes.h>

#define CREATE_MS 30000
/* qcow2's specification: an extended L2 entry has 16 bytes */
#define ENTRY 16
#define TABLES_MAX (32 << 20)
#define CLUSTER_MIN (128 << 10) /* parts of 4 KiB */
#define CLUSTER_MAX (2 << 20)

int bm_overlay_below(const struct bm_layer *top, uint64_t *size,
                     struct bm_error *err)
{
    struct bm_image_info info;
    int rc;

    if (top->slice)
        return *size = top->slice, 0;
    rc = bm_image_read_info(top->path, top->format, &info, err);
    if (rc)
        return rc;
    *size = info.virtual_size;
    bm_image_info_clear(&info);
    return 0;
}

/* Larger ones for a large disk, so that its tables are soon written. */
static uint64_t cluster_for(uint64_t size)
{
    uint64_t cluster = CLUSTER_MIN;

    while (cluster < CLUSTER_MAX && size / cluster * ENTRY > TABLES_MAX)
        cluster *= 2;
    return cluster;
}

static uint64_t up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

/* As measured, from 1 MiB to 1 TiB: the entries, the counts of 2 bytes for each
 * cluster of the file, the header, and the first table of either. */
uint64_t bm_overlay_tables(uint64_t size)
{
    uint64_t cluster = cluster_for(size), n = up(size, cluster);

    return (up(n * ENTRY, cluster) + n * 2 / cluster + 3) * cluster;
}

/* options NULL: the defaults. */
static int format(const char *path, const struct bm_layer *below, uint64_t size,
                  const char *options, struct bm_error *err)
{
    BM_FREE char *backing = bm_chain_backing_name(below);
    char bytes[32];
    const char *argv[] = {
        "qemu-img", "create",      "-q", "-u",
        "-f",       "qcow2",       "-b", backing,
        "-F",       below->format, "-o", options ? options : "compat=1.1",
        path,       bytes,         NULL};
    int rc;

    if (!backing)
        return bm_fail_errno(err, ENOMEM, "cannot make %s", path);
    snprintf(bytes, sizeof bytes, "%" PRIu64, size);
    rc = bm_child_run(argv, CREATE_MS, NULL, NULL, NULL, NULL, err);
    return rc ? rc : bm_fsync_file(path, err);
}

int bm_overlay_make(const char *path, const struct bm_layer *below,
                    uint64_t size, struct bm_error *err)
{
    char options[100];
    uint64_t dev, ino;
    int rc = bm_file_make(path, &dev, &ino, err);

    snprintf(options, sizeof options,
             "extended_l2=on,preallocation=metadata,cluster_size=%" PRIu64,
             cluster_for(size));
    return rc ? rc : format(path, below, size, options, err);
}

int bm_overlay_format(const char *path, const struct bm_layer *below,
                      struct bm_error *err)
{
    uint64_t size;
    int rc = bm_overlay_below(below, &size, err);

    return rc ? rc : format(path, below, size, NULL, err);
}

int bm_commit_rebase(const char *overlay, const struct bm_layer *below,
                     struct bm_error *err)
{
    BM_FREE char *name = bm_chain_backing_name(below);

    return name ? bm_image_rebase_unsafe(overlay, name, below->format, err)
                : bm_fail_errno(err, ENOMEM, "cannot rebase %s", overlay);
}

int bm_overlay_holds_data(const char *path, bool *any, struct bm_error *err)
{
    struct bm_bitmap *dirty = NULL;
    struct bm_chain alone = {0};
    struct bm_frozen_chain view = {0};
    int rc = bm_chain_append(&alone, BM_SOURCE_FILE, path, "qcow2");

    rc = rc ? bm_fail_errno(err, -rc, "cannot look at %s", path)
            : bm_frozen_chain_open(&alone, 1, &view, err);
    if (!rc && !(dirty = bm_bitmap_new(view.device->size, BM_DIGEST_BLOCK)))
        rc = bm_fail_errno(err, ENOMEM, "cannot look at %s", path);
    if (!rc)
        rc = bm_frozen_chain_dirty(&view, dirty, err);
    *any = !rc && bm_bitmap_count(dirty) > 0;
    bm_bitmap_free(dirty);
    bm_frozen_chain_close(&view);
    bm_chain_clear(&alone);
    return rc;
}
