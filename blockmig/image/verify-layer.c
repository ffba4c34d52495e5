// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/verify-layer.h"

#include "nbd/base/cleanup.h"
#include "nbd/copy/scan.h"
#include "nbd/base/units.h"
#include "nbd/digest/manifest-file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

void bm_verify_result_clear(struct bm_verify_result *result)
{
    free(result->ranges);
    memset(result, 0, sizeof *result);
}

/* A number that changes when any layer is written to, or replaced. */
static uint64_t fingerprint(const struct bm_chain *view)
{
    uint64_t sum = view->n;
    struct stat st;

    for (size_t l = 0; l < view->n; l++) {
        if (stat(view->layers[l].path, &st) != 0)
            continue;
        sum = sum * 1000003 + (uint64_t)st.st_ino;
        sum = sum * 1000003 + (uint64_t)st.st_size;
        sum = sum * 1000003 + (uint64_t)bm_nanoseconds(&st.st_mtim);
    }
    return sum;
}

static int changed(const struct bm_chain *view, struct bm_error *err)
{
    bm_fail(err, EAGAIN, "cannot verify %s", view->layers[0].path);
    bm_cause(err, "it, or what it stands on, was changed meanwhile");
    return bm_remedy(err, "verify it again"), -EAGAIN;
}

static int hash(const struct bm_verify *how, struct bm_device *device,
                struct bm_manifest *into, struct bm_verify_result *result,
                struct bm_error *err)
{
    const struct bm_scan scan = {.device = device,
                                 .rate_limit = how->rate_limit,
                                 .queues = device->queues,
                                 .progress = how->progress,
                                 .opaque = how->opaque};
    bool partial;
    int rc = bm_scan_hash(&scan, into, err);

    result->medium = device->medium;
    return rc ? rc : bm_manifest_finish(into, result->digest, &partial, err);
}

static int read_view(const struct bm_verify *how, const struct bm_chain *view,
                     struct bm_manifest **out, struct bm_verify_result *result,
                     struct bm_error *err)
{
    BM_FREE struct bm_image_layer *images = NULL;
    uint64_t before = fingerprint(view);
    struct bm_device *device = NULL;
    int rc = bm_chain_images(view, &images, err);

    if (!rc)
        rc = bm_device_open_shared(images, view->n, bm_device_lanes(), 0,
                                   &device, err);
    if (!rc)
        rc = bm_manifest_new(NULL, how->manifests.dir, bm_digest_sha256,
                             device->size, out, err);
    if (!rc)
        rc = hash(how, device, *out, result, err);
    bm_device_close(device);
    return !rc && fingerprint(view) != before ? changed(view, err) : rc;
}

static void told(void *opaque, uint64_t offset, uint64_t length)
{
    struct bm_verify_result *result = opaque;
    struct bm_range *ranges =
        realloc(result->ranges, (result->n + 1) * sizeof *ranges);

    result->different += length;
    if (!ranges)
        return; /* the sum says enough */
    result->ranges = ranges;
    ranges[result->n++] = (struct bm_range){offset, length};
}

static int hold_against(const struct bm_verify *how, const char *image,
                        const struct bm_manifest *old,
                        const struct bm_manifest *now,
                        struct bm_verify_result *result, struct bm_error *err)
{
    int rc = bm_manifest_diff(old, now, told, result, err);

    if (rc)
        return rc;
    result->verified =
        result->different ? BM_VERIFIED_DIFFERS : BM_VERIFIED_SAME;
    if (result->different && how->accept) {
        result->verified = BM_VERIFIED_ACCEPTED;
        return bm_manifest_store_put(&how->manifests, image, now, err);
    }
    return bm_manifest_store_stamp(&how->manifests, image,
                                   result->different > 0, err);
}

int bm_verify_layer(const struct bm_verify *how, const struct bm_chain *view,
                    struct bm_verify_result *result, struct bm_error *err)
{
    const char *image = view->layers[0].path;
    struct bm_manifest *old = NULL, *now = NULL;
    int rc;

    memset(result, 0, sizeof *result);
    rc = bm_manifest_store_open(&how->manifests, image, &old, err);
    if (rc && rc != -ENOENT)
        return rc;
    rc = read_view(how, view, &now, result, err);
    if (!rc && old)
        rc = hold_against(how, image, old, now, result, err);
    else if (!rc)
        rc = bm_manifest_store_put(&how->manifests, image, now, err);
    bm_manifest_close(old);
    bm_manifest_close(now);
    return rc;
}
