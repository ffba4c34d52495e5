// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The proof of a merge. The layers that go are as they were while and after
 * they are merged, so what they hold is read from them, and then from what took
 * it. By BM_PROOF_FULL the whole view is read before, too: then the rest of the
 * base is proven as well.
 */
#include "blockmig/answers.h"
#include "blockmig/heed.h"
#include "blockmig/merge.h"
#include "blockmig/pacer.h"
#include "blockmig/point.h"
#include "blockmig/vault.h"
#include "blockmig/view.h"
#include "nbd/cleanup.h"
#include "nbd/gently.h"
#include "nbd/scan.h"
#include "nbd/units.h"
#include "snapshot/call.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

struct proof {
    struct bm_mover *m;
    struct bm_job_merge *merge;
    int (*work)(struct proof *p);
    char *manifest; /* BM_PROOF_FULL: the digests of the view before; or NULL */
    struct bm_throttle *throttle;
    struct bm_patience patience; /* of the moving thread */
    atomic_uint_fast64_t moved;  /* bytes */
    struct bm_error error;
};

static int no_memory(const struct proof *p, struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot prove the merge of %s",
                         p->merge->target);
}

/* In the thread of the work. */
static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct proof *p = opaque;

    p->moved = done;
    bm_heed(p->m);
    if (p->m->pacer)
        bm_pacer_tick(p->m->pacer, p->m, done);
    bm_mover_progress(p->m, done, total);
    return 0;
}

static struct bm_scan scan_of(struct proof *p, const struct bm_view *view,
                              const struct bm_bitmap *only)
{
    return (struct bm_scan){
        .device = view->device,
        .only = only,
        .throttle = p->throttle,
        .lanes = bm_pacer_spares(p->m->pacer) ? 1 : view->device->lanes,
        .progress = on_progress,
        .opaque = p};
}

/* --- the two sides --- */

/* The chain from the uppermost layer that goes (skip 0), or from the base. What
 * is below the base its header tells. */
static int side(const struct proof *p, size_t skip, struct bm_chain *out,
                struct bm_error *err)
{
    const struct bm_chain *layers = &p->merge->layers;
    int rc = 0;

    memset(out, 0, sizeof *out);
    for (size_t l = skip; !rc && l < layers->n; l++)
        rc = bm_chain_add(out, &layers->layers[l]);
    rc = rc ? no_memory(p, err) : bm_chain_complete(out, err);
    if (rc)
        bm_chain_clear(out);
    return rc;
}

static int open_side(const struct proof *p, size_t skip, unsigned depth,
                     struct bm_view *view, struct bm_error *err)
{
    struct bm_chain chain;
    int rc = side(p, skip, &chain, err);

    if (rc)
        return rc;
    rc = bm_view_open(&chain, depth, view, err);
    bm_chain_clear(&chain);
    return rc;
}

static int differs(const struct proof *p, const struct bm_bitmap *differ,
                   uint64_t size, struct bm_error *err)
{
    uint64_t at = 0, length = 0;

    bm_bitmap_next(differ, false, 0, size, &at, &length);
    bm_fail(err, EBADMSG, "the proof of the merge of disk %s failed",
            p->merge->target);
    bm_cause(err,
             "%" PRIu64 " bytes of %s, the first %" PRIu64 " at offset %" PRIu64
             ", are not as in %s",
             bm_bitmap_count(differ), bm_merge_base(p->merge)->path, length, at,
             p->merge->layers.layers[0].path);
    return bm_status(err, BM_EXIT_PROOF), -EBADMSG;
}

static int note(const struct proof *p, const struct bm_manifest *manifest,
                const struct bm_view *view, uint64_t bytes,
                struct bm_error *err)
{
    char hex[BM_DIGEST_HEX];
    bool partial;
    int rc = bm_manifest_root(manifest, hex, &partial, err);

    if (rc)
        return rc;
    snprintf(p->merge->digest, sizeof p->merge->digest, "%.64s", hex);
    snprintf(p->merge->proof_medium, sizeof p->merge->proof_medium, "%s",
             view->device->medium);
    p->merge->proof_bytes = bytes;
    return 0;
}

/* The base against these digests. */
static int check_base(struct proof *p, const struct bm_bitmap *only,
                      const struct bm_manifest *manifest, struct bm_error *err)
{
    BM_VIEW view = {0};
    BM_BITMAP *differ = NULL;
    struct bm_scan scan;
    int rc = open_side(p, p->merge->layers.n - 1, 0, &view, err);

    if (!rc && !(differ = bm_bitmap_new(view.device->size, BM_DIGEST_BLOCK)))
        rc = no_memory(p, err);
    if (rc)
        return rc;
    if (view.device->size != bm_manifest_length(manifest)) {
        bm_fail(err, EBADMSG, "the proof of the merge of disk %s failed",
                p->merge->target);
        bm_cause(err, "%s has %" PRIu64 " bytes, not %" PRIu64,
                 bm_merge_base(p->merge)->path, view.device->size,
                 bm_manifest_length(manifest));
        return bm_status(err, BM_EXIT_PROOF), -EBADMSG;
    }
    scan = scan_of(p, &view, only);
    rc = bm_scan_check(&scan, manifest, differ, err);
    if (!rc && bm_bitmap_count(differ))
        rc = differs(p, differ, view.device->size, err);
    return rc ? rc
              : note(p, manifest, &view,
                     only ? bm_bitmap_count(only) : view.device->size, err);
}

/* --- the clusters of the layers --- */

static int touched(struct proof *p, struct bm_manifest **manifest,
                   struct bm_bitmap **only, struct bm_error *err)
{
    BM_VIEW view = {0};
    struct bm_scan scan;
    int rc = open_side(p, 0, (unsigned)p->merge->layers.n - 1, &view, err);

    if (rc)
        return rc;
    *only = bm_bitmap_new(view.device->size, BM_DIGEST_BLOCK);
    rc = *only ? bm_view_dirty(&view, *only, err) : no_memory(p, err);
    if (!rc)
        rc =
            bm_manifest_new(NULL, bm_job_store_dir(p->m->store),
                            bm_digest_sha256, view.device->size, manifest, err);
    scan = scan_of(p, &view, *only);
    return rc ? rc : bm_scan_hash(&scan, *manifest, err);
}

static int prove_touched(struct proof *p)
{
    struct bm_manifest *manifest = NULL;
    BM_BITMAP *only = NULL;
    int rc = touched(p, &manifest, &only, &p->error);

    if (!rc)
        rc = check_base(p, only, manifest, &p->error);
    bm_manifest_close(manifest);
    return rc;
}

/* --- what was noted before --- */

static int not_as_noted(const struct proof *p, const char *image,
                        const char *cause, struct bm_error *err)
{
    bm_fail(err, EBADMSG, "cannot merge %s into %s",
            p->merge->layers.layers[0].path, bm_merge_base(p->merge)->path);
    bm_cause(err, "%s %s", image, cause);
    bm_remedy(err, "see 'blockmig snapshot verify %s'", p->m->job->domain);
    return bm_status(err, BM_EXIT_PROOF), -EBADMSG;
}

/* What the layers hold, against the manifest of the view at the uppermost. */
static int check_kept(struct proof *p)
{
    const char *top = p->merge->layers.layers[0].path;
    const struct bm_vault vault = {bm_job_store_dir(p->m->store),
                                   p->m->job->uuid};
    struct bm_manifest *manifest = NULL;
    BM_BITMAP *only = NULL, *differ = NULL;
    BM_VIEW view = {0};
    struct bm_scan scan;
    int rc = bm_vault_open(&vault, top, &manifest, &p->error);

    if (!rc)
        rc =
            open_side(p, 0, (unsigned)p->merge->layers.n - 1, &view, &p->error);
    if (!rc) {
        only = bm_bitmap_new(view.device->size, BM_DIGEST_BLOCK);
        differ = bm_bitmap_new(view.device->size, BM_DIGEST_BLOCK);
        rc = only && differ ? bm_view_dirty(&view, only, &p->error)
                            : no_memory(p, &p->error);
    }
    if (!rc) {
        scan = scan_of(p, &view, only);
        rc = bm_scan_check(&scan, manifest, differ, &p->error);
    }
    if (!rc && bm_bitmap_count(differ))
        rc = not_as_noted(p, top, "does not hold what was noted of it",
                          &p->error);
    bm_manifest_close(manifest);
    return rc;
}

/* --- the whole view --- */

/* Beside the journal; NULL: out of memory. */
static char *manifest_name(const struct bm_mover *m,
                           const struct bm_job_merge *merge)
{
    char *name;

    return asprintf(&name, "%s/%s-merge-%td.before", bm_job_store_dir(m->store),
                    m->job->id, merge - m->job->snapshot->merges) < 0
               ? NULL
               : name;
}

static int hash_before(struct proof *p)
{
    struct bm_manifest *manifest = NULL;
    char hex[BM_DIGEST_HEX];
    BM_VIEW view = {0};
    struct bm_scan scan;
    bool partial;
    int rc = open_side(p, 0, 0, &view, &p->error);

    if (!rc)
        rc = bm_manifest_new(p->manifest, NULL, bm_digest_sha256,
                             view.device->size, &manifest, &p->error);
    if (rc)
        return rc;
    scan = scan_of(p, &view, NULL);
    rc = bm_scan_hash(&scan, manifest, &p->error);
    if (!rc)
        rc = bm_manifest_finish(manifest, hex, &partial, &p->error);
    bm_manifest_close(manifest);
    return rc;
}

static int prove_full(struct proof *p)
{
    struct bm_manifest *manifest = NULL;
    int rc = bm_manifest_open(p->manifest, &manifest, &p->error);

    if (!rc)
        rc = check_base(p, NULL, manifest, &p->error);
    bm_manifest_close(manifest);
    if (!rc && unlink(p->manifest) != 0 && errno != ENOENT)
        rc = bm_fail_errno(&p->error, errno, "cannot remove %s", p->manifest);
    return rc;
}

/* --- at a low priority, at the pace of the job --- */

static int work(void *opaque)
{
    struct proof *p = opaque;

    return p->work(p);
}

/* In the moving thread, beside the work. */
static int look(void *opaque, struct bm_error *err)
{
    struct proof *p = opaque;

    return bm_patience(&p->patience, p->m->job, atomic_load(&p->moved),
                       bm_call_ms(), err);
}

static void proof_free(struct proof *p)
{
    bm_throttle_free(p->throttle);
    free(p->manifest);
    free(p);
}

static int run(struct bm_mover *m, struct bm_job_merge *merge,
               int (*what)(struct proof *p), struct bm_error *err)
{
    struct proof *p = calloc(1, sizeof *p);
    struct bm_gently how = {.work = work,
                            .look = look,
                            .opaque = p,
                            .idle = m->job->guest_latency > 0};
    int64_t start = bm_now_ms();
    int rc;

    if (!p)
        return bm_fail_errno(err, ENOMEM, "cannot prove a merge");
    *p = (struct proof){.m = m,
                        .merge = merge,
                        .work = what,
                        .manifest = manifest_name(m, merge),
                        .throttle = bm_throttle_new(m->job->bandwidth),
                        .error = BM_ERROR_INIT};
    rc = p->manifest && p->throttle ? bm_pacer_need(m, err) : no_memory(p, err);
    if (!rc) {
        bm_pacer_take(m->pacer, p->throttle);
        rc = bm_gently(&how, err);
        bm_pacer_take(m->pacer, NULL);
    }
    if (bm_gently_left())
        return rc; /* the work hangs in it */
    if (rc && p->error.code)
        *err = p->error;
    proof_free(p);
    m->job->prove_ms += bm_now_ms() - start;
    return rc;
}

/* What nobody has noted is taken as it is. */
static int check_noted(const struct proof *p, const struct bm_chain *images,
                       struct bm_error *err)
{
    const struct bm_vault vault = {bm_job_store_dir(p->m->store),
                                   p->m->job->uuid};
    int rc = 0;

    for (size_t l = 0; !rc && l < images->n; l++) {
        const char *image = images->layers[l].path;
        enum bm_kept kept;

        rc = bm_vault_look(&vault, image, &kept, err);
        if (!rc && kept == BM_KEPT_CHANGED)
            rc = not_as_noted(p, image, "was written to since it was noted",
                              err);
        else if (!rc && kept == BM_KEPT_WRONG)
            rc = not_as_noted(p, image, "is not what it was", err);
    }
    return rc;
}

int bm_merge_check_kept(struct bm_mover *m, struct bm_job_merge *merge,
                        struct bm_error *err)
{
    const struct bm_vault vault = {bm_job_store_dir(m->store), m->job->uuid};
    const struct proof p = {.m = m, .merge = merge};
    enum bm_kept kept;
    int rc = check_noted(&p, &merge->layers, err);

    if (!rc)
        rc = check_noted(&p, &merge->children, err);
    if (!rc)
        rc = bm_vault_look(&vault, merge->layers.layers[0].path, &kept, err);
    return rc || kept == BM_KEPT_NONE ? rc : run(m, merge, check_kept, err);
}

int bm_merge_prove_before(struct bm_mover *m, struct bm_job_merge *merge,
                          struct bm_error *err)
{
    if (m->job->snapshot->proof != BM_PROOF_FULL || merge->begun)
        return 0;
    return run(m, merge, hash_before, err);
}

int bm_merge_prove(struct bm_mover *m, struct bm_job_merge *merge,
                   struct bm_error *err)
{
    bool full = m->job->snapshot->proof == BM_PROOF_FULL;
    int rc = run(m, merge, full ? prove_full : prove_touched, err);

    if (rc)
        return rc;
    merge->proven = true;
    bm_point("copying.proven");
    return bm_mover_save(m, NULL, err);
}
