// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What was noted of the images of a merge before: one that is not what it was
 * is never merged.
 */
#include "blockmig/merge/layer-reader.h"
#include "blockmig/image/manifest-store.h"
#include "nbd/digest/manifest-file.h"

#include <errno.h>

static int not_as_noted(const struct bm_merge_reading *r, const char *image,
                        const char *cause, struct bm_error *err)
{
    bm_fail(err, EBADMSG, "cannot merge %s into %s",
            r->merge->layers.layers[0].path, bm_merge_base(r->merge)->path);
    bm_cause(err, "%s %s", image, cause);
    bm_remedy(err, "see 'blockmig snapshot verify %s'", r->run->job->domain);
    return bm_status(err, BM_EXIT_PROOF), -EBADMSG;
}

/* What the layers hold, against the manifest of the view at the uppermost. */
static int check_kept(struct bm_merge_reading *r)
{
    const char *top = r->merge->layers.layers[0].path;
    const struct bm_manifest_store manifests = {bm_job_store_dir(r->run->jobs),
                                                r->run->job->uuid};
    struct bm_manifest *manifest = NULL;
    BM_BITMAP *only = NULL, *differ = NULL;
    BM_FROZEN_CHAIN view = {0};
    struct bm_scan scan;
    int rc = bm_manifest_store_open(&manifests, top, &manifest, &r->error);

    if (!rc)
        rc = bm_merge_reading_open(r, 0, (unsigned)r->merge->layers.n - 1,
                                   &view, &r->error);
    if (!rc) {
        only = bm_bitmap_new(view.device->size, BM_DIGEST_BLOCK);
        differ = bm_bitmap_new(view.device->size, BM_DIGEST_BLOCK);
        rc = only && differ ? bm_frozen_chain_dirty(&view, only, &r->error)
                            : bm_merge_reading_no_memory(r, &r->error);
    }
    if (!rc) {
        scan = bm_merge_reading_scan(r, &view, only);
        rc = bm_scan_check(&scan, manifest, differ, &r->error);
    }
    if (!rc && bm_bitmap_count(differ))
        rc = not_as_noted(r, top, "does not hold what was noted of it",
                          &r->error);
    bm_manifest_close(manifest);
    return rc;
}

static int look_up(const struct bm_merge_reading *r, const char *image,
                   enum bm_kept *kept, struct bm_error *err)
{
    const struct bm_manifest_store manifests = {bm_job_store_dir(r->run->jobs),
                                                r->run->job->uuid};

    return bm_manifest_store_look(&manifests, image, kept, err);
}

/* What nobody has noted is taken as it is. */
static int check_noted(const struct bm_merge_reading *r,
                       const struct bm_chain *images, struct bm_error *err)
{
    int rc = 0;

    for (size_t l = 0; !rc && l < images->n; l++) {
        const char *image = images->layers[l].path;
        enum bm_kept kept;

        rc = look_up(r, image, &kept, err);
        if (!rc && kept == BM_KEPT_CHANGED)
            rc = not_as_noted(r, image, "was written to since it was noted",
                              err);
        else if (!rc && kept == BM_KEPT_WRONG)
            rc = not_as_noted(r, image, "is not what it was", err);
    }
    return rc;
}

int bm_merge_check_kept(struct bm_run *run, struct bm_job_merge *merge,
                        struct bm_error *err)
{
    const char *top = merge->layers.layers[0].path;
    struct bm_merge_reading *r =
        bm_merge_reading_new(run, merge, check_kept, err);
    enum bm_kept kept = BM_KEPT_NONE;
    int rc = r ? check_noted(r, &merge->layers, err) : -ENOMEM;

    if (!rc)
        rc = check_noted(r, &merge->children, err);
    if (!rc)
        rc = look_up(r, top, &kept, err);
    if (!rc && kept != BM_KEPT_NONE)
        rc = bm_merge_reading_run(r, err);
    if (!bm_background_left())
        bm_merge_reading_free(r);
    return rc;
}
