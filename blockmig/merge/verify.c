// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The proof of a merge. The layers that go are as they were while and after
 * they are merged, so what they hold is read from them, and then from what took
 * it. By BM_PROOF_FULL the whole view is read before, too: then the rest of the
 * base is proven as well.
 */
#include "blockmig/merge/layer-reader.h"
#include "blockmig/run/pacing.h"
#include "blockmig/job/failpoint.h"
#include "nbd/base/cleanup.h"
#include "nbd/digest/manifest-file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static int differs(const struct bm_merge_reading *r,
                   const struct bm_bitmap *differ, uint64_t size,
                   struct bm_error *err)
{
    uint64_t at = 0, length = 0;

    bm_bitmap_next(differ, false, 0, size, &at, &length);
    bm_fail(err, EBADMSG, "the proof of the merge of disk %s failed",
            r->merge->target);
    bm_cause(err,
             "%" PRIu64 " bytes of %s, the first %" PRIu64 " at offset %" PRIu64
             ", are not as in %s",
             bm_bitmap_count(differ), bm_merge_base(r->merge)->path, length, at,
             r->merge->layers.layers[0].path);
    return bm_status(err, BM_EXIT_PROOF), -EBADMSG;
}

static int note(const struct bm_merge_reading *r,
                const struct bm_manifest *manifest,
                const struct bm_frozen_chain *view, uint64_t bytes,
                struct bm_error *err)
{
    char hex[BM_DIGEST_HEX];
    bool partial;
    int rc = bm_manifest_root(manifest, hex, &partial, err);

    if (rc)
        return rc;
    snprintf(r->merge->digest, sizeof r->merge->digest, "%.64s", hex);
    snprintf(r->merge->proof_medium, sizeof r->merge->proof_medium, "%s",
             view->device->medium);
    r->merge->proof_bytes = bytes;
    return 0;
}

/* The base against these digests. */
static int check_base(struct bm_merge_reading *r, const struct bm_bitmap *only,
                      const struct bm_manifest *manifest, struct bm_error *err)
{
    BM_FROZEN_CHAIN view = {0};
    BM_BITMAP *differ = NULL;
    struct bm_scan scan;
    int rc = bm_merge_reading_open(r, r->merge->layers.n - 1, 0, &view, err);

    if (!rc && !(differ = bm_bitmap_new(view.device->size, BM_DIGEST_BLOCK)))
        rc = bm_merge_reading_no_memory(r, err);
    if (rc)
        return rc;
    if (view.device->size != bm_manifest_length(manifest)) {
        bm_fail(err, EBADMSG, "the proof of the merge of disk %s failed",
                r->merge->target);
        bm_cause(err, "%s has %" PRIu64 " bytes, not %" PRIu64,
                 bm_merge_base(r->merge)->path, view.device->size,
                 bm_manifest_length(manifest));
        return bm_status(err, BM_EXIT_PROOF), -EBADMSG;
    }
    scan = bm_merge_reading_scan(r, &view, only);
    rc = bm_scan_check(&scan, manifest, differ, err);
    if (!rc && bm_bitmap_count(differ))
        rc = differs(r, differ, view.device->size, err);
    return rc ? rc
              : note(r, manifest, &view,
                     only ? bm_bitmap_count(only) : view.device->size, err);
}

/* --- the clusters of the layers --- */

static int read_touched(struct bm_merge_reading *r,
                        struct bm_frozen_chain *view, struct bm_error *err)
{
    uint64_t size = view->device->size;
    struct bm_scan scan;
    int rc;

    r->only = bm_bitmap_new(size, BM_DIGEST_BLOCK);
    rc = r->only ? bm_frozen_chain_dirty(view, r->only, err)
                 : bm_merge_reading_no_memory(r, err);
    if (!rc)
        rc = bm_manifest_new(NULL, bm_job_store_dir(r->run->jobs),
                             bm_digest_sha256, size, &r->manifest, err);
    scan = bm_merge_reading_scan(r, view, r->only);
    return rc ? rc : bm_scan_hash(&scan, r->manifest, err);
}

static int hash_touched(struct bm_merge_reading *r)
{
    BM_FROZEN_CHAIN view = {0};
    int rc = bm_merge_reading_open(r, 0, (unsigned)r->merge->layers.n - 1,
                                   &view, &r->error);

    return rc ? rc : read_touched(r, &view, &r->error);
}

static int prove_touched(struct bm_merge_reading *r)
{
    int rc = r->manifest ? 0 : hash_touched(r);

    return rc ? rc : check_base(r, r->only, r->manifest, &r->error);
}

/* --- the whole view --- */

static int hash_before(struct bm_merge_reading *r)
{
    struct bm_manifest *manifest = NULL;
    char hex[BM_DIGEST_HEX];
    BM_FROZEN_CHAIN view = {0};
    struct bm_scan scan;
    bool partial;
    int rc = bm_merge_reading_open(r, 0, 0, &view, &r->error);

    if (!rc)
        rc = bm_manifest_new(r->before, NULL, bm_digest_sha256,
                             view.device->size, &manifest, &r->error);
    if (rc)
        return rc;
    scan = bm_merge_reading_scan(r, &view, NULL);
    rc = bm_scan_hash(&scan, manifest, &r->error);
    if (!rc)
        rc = bm_manifest_finish(manifest, hex, &partial, &r->error);
    bm_manifest_close(manifest);
    return rc;
}

static int prove_full(struct bm_merge_reading *r)
{
    struct bm_manifest *manifest = NULL;
    int rc = bm_manifest_open(r->before, &manifest, &r->error);

    if (!rc)
        rc = check_base(r, NULL, manifest, &r->error);
    bm_manifest_close(manifest);
    return rc;
}

static int run_reading(struct bm_run *run, struct bm_job_merge *merge,
                       int (*work)(struct bm_merge_reading *r),
                       struct bm_error *err)
{
    struct bm_merge_reading *r = bm_merge_reading_new(run, merge, work, err);
    int rc = r ? bm_merge_reading_run(r, err) : -ENOMEM;

    if (!bm_background_left())
        bm_merge_reading_free(r);
    return rc;
}

int bm_merge_prove_before(struct bm_run *run, struct bm_job_merge *merge,
                          struct bm_error *err)
{
    BM_FREE char *before = bm_merge_reading_before(run, merge);

    if (!before)
        return bm_fail_errno(err, ENOMEM, "cannot prove a merge");
    if (run->job->snapshot->proof != BM_PROOF_FULL ||
        (merge->begun && access(before, F_OK) == 0))
        return 0;
    return run_reading(run, merge, hash_before, err);
}

/* --- ahead --- */

/* Beside a guest at work two that read and write would be too much, and of a
 * limit the merge would have one half. */
int bm_merge_prove_ahead(struct bm_run *run, struct bm_job_merge *merge,
                         struct bm_merge_reading **out, struct bm_error *err)
{
    struct bm_merge_reading *r;
    int rc = bm_pacing_need(run, err);

    /* A guest that is off may be started, and the layers be written to: they
     * are read after it, when their locks are held. */
    *out = NULL;
    if (rc || !run->domain->active ||
        run->job->snapshot->proof != BM_PROOF_TOUCHED ||
        run->job->limits.bandwidth || bm_pacing_spares(run->pacing))
        return rc;
    r = bm_merge_reading_new(run, merge, hash_touched, err);
    if (!r)
        return -ENOMEM;
    r->ahead = r->beside = true;
    rc = bm_merge_reading_begin(r, err);
    if (rc)
        bm_merge_reading_free(r);
    else
        *out = r;
    return rc;
}

void bm_merge_prove_drop(struct bm_merge_reading *r)
{
    struct bm_error ignored = BM_ERROR_INIT;

    if (!r)
        return;
    atomic_store(&r->stop, true);
    if (r->gentle)
        (void)bm_merge_reading_end(r, &ignored);
    if (!bm_background_left())
        bm_merge_reading_free(r);
}

static int prove(struct bm_run *run, struct bm_job_merge *merge,
                 struct bm_merge_reading *ahead, struct bm_error *err)
{
    int rc;

    if (run->job->snapshot->proof == BM_PROOF_FULL)
        return run_reading(run, merge, prove_full, err);
    if (!ahead)
        return run_reading(run, merge, prove_touched, err);
    rc = ahead->gentle ? bm_merge_reading_end(ahead, err) : 0;
    if (!rc) {
        ahead->ahead = ahead->beside = false;
        ahead->work = prove_touched;
        rc = bm_merge_reading_run(ahead, err);
    }
    if (!rc || bm_background_left())
        return rc;
    /* where a layer holds parts of a block only, the rest was read from a base
     * that was being written to: what is read now counts */
    *err = (struct bm_error)BM_ERROR_INIT;
    return run_reading(run, merge, prove_touched, err);
}

int bm_merge_prove(struct bm_run *run, struct bm_job_merge *merge,
                   struct bm_merge_reading *ahead, struct bm_error *err)
{
    int rc = prove(run, merge, ahead, err);

    if (!rc)
        rc = bm_merge_mark_base(merge, err);
    if (rc)
        return rc;
    merge->proven = true;
    bm_failpoint("copying.proven");
    return bm_run_save(run, NULL, err);
}

int bm_merge_prove_over(struct bm_run *run, struct bm_job_merge *merge,
                        struct bm_error *err)
{
    BM_FREE char *before = bm_merge_reading_before(run, merge);

    if (!before)
        return bm_fail_errno(err, ENOMEM, "cannot end a merge");
    return unlink(before) == 0 || errno == ENOENT
               ? 0
               : bm_fail_errno(err, errno, "cannot remove %s", before);
}
