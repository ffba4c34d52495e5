// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/transfer.h"

#include "blockmig/transfer-parts.h"
#include "nbd/cleanup.h"
#include "nbd/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void bm_transfer_result_clear(struct bm_transfer_result *result)
{
    free(result->bad);
    memset(result, 0, sizeof *result);
}

int bm_transfer_add_bad(struct bm_transfer_result *result, uint64_t offset,
                        uint64_t length)
{
    struct bm_range *grown =
        reallocarray(result->bad, result->n_bad + 1, sizeof *grown);

    if (!grown)
        return -ENOMEM;
    result->bad = grown;
    grown[result->n_bad++] = (struct bm_range){offset, length};
    result->bad_bytes += length;
    return 0;
}

int bm_transfer_tick(void *opaque, uint64_t done, uint64_t total)
{
    struct bm_transfer_job *job = opaque;
    uint64_t kept = job->todo ? job->result->kept : 0;

    return job->how->progress ? job->how->progress(job->how->opaque, job->phase,
                                                   kept + done, kept + total)
                              : 0;
}

static bool wants_digests(const struct bm_transfer *t)
{
    return t->verify || t->manifest;
}

static struct bm_transfer_identity identity(const struct bm_transfer_job *job)
{
    return (struct bm_transfer_identity){
        .source = job->how->source,
        .target = job->how->target,
        .source_id = job->source_id,
        .target_id = job->target_id,
        .format = job->landing.format,
        .source_format =
            job->how->source_format ? job->how->source_format : "probed",
        .digest = wants_digests(job->how) ? job->how->digest->name : "none",
        .size = job->source->size,
    };
}

/* --- opening --- */

static int open_source(struct bm_transfer_job *job, struct bm_error *err)
{
    const struct bm_transfer *t = job->how;
    struct bm_open how = {.format = t->source_format,
                          .lanes = bm_device_lanes(),
                          .direct = t->direct,
                          .share = t->share,
                          .tls_certificates = t->tls_certificates,
                          .tls_psk = t->tls_psk};
    int rc = bm_device_open(t->source, &how, &job->source, err);

    if (rc)
        return rc;
    job->result->size = job->source->size;
    job->source_id = bm_landing_identity(t->source, job->source, true);
    return job->source_id
               ? 0
               : bm_fail_errno(err, ENOMEM, "cannot copy %s", t->source);
}

int bm_transfer_open_target(struct bm_transfer_job *job, struct bm_error *err)
{
    int rc = bm_landing_write(&job->landing, job->how, job->fresh, &job->target,
                              err);

    if (rc)
        return rc;
    if (job->target->size < job->source->size) {
        bm_fail(err, ENOSPC, "cannot copy %s to %s", job->how->source,
                job->how->target);
        bm_cause(err, "the target has %llu bytes and needs %llu",
                 (unsigned long long)job->target->size,
                 (unsigned long long)job->source->size);
        return bm_status(err, BM_EXIT_REFUSED);
    }
    free(job->target_id);
    job->target_id = bm_landing_identity(job->landing.part, job->target, false);
    return job->target_id ? 0
                          : bm_fail_errno(err, ENOMEM, "cannot copy to %s",
                                          job->how->target);
}

void bm_transfer_close_target(struct bm_transfer_job *job)
{
    bm_device_close(job->target);
    job->target = NULL;
}

/* --- going on with an earlier run --- */

/* What is not done yet, in todo. */
static int plan_rest(struct bm_transfer_job *job, struct bm_error *err)
{
    uint64_t size = job->source->size, offset = 0, length;

    job->todo = bm_bitmap_new(size, BM_DIGEST_BLOCK);
    if (!job->todo)
        return bm_fail_errno(err, ENOMEM, "cannot copy %s", job->how->source);
    for (; bm_bitmap_next(job->done, true, offset, size, &offset, &length);
         offset += length)
        bm_bitmap_set(job->todo, offset, length);
    job->result->kept = bm_bitmap_count(job->done);
    return 0;
}

static int take_up(struct bm_transfer_job *job, struct bm_error *err)
{
    struct bm_transfer_identity id;
    int rc = bm_landing_claim(&job->landing, err);

    if (rc == 0)
        rc = bm_transfer_open_target(job, err);

    if (rc)
        return rc;
    id = identity(job);
    rc = bm_transfer_state_load(job->landing.state, &id, &job->done, err);
    if (rc == 0 && wants_digests(job->how))
        rc = bm_manifest_reopen(job->landing.spool, job->how->digest,
                                job->source->size, &job->digests, err);
    return rc ? rc : plan_rest(job, err);
}

/* --- from the beginning --- */

static int begin(struct bm_transfer_job *job, struct bm_error *err)
{
    int rc;

    rc = bm_landing_claim(&job->landing, err); /* an old one may be in use */
    if (rc == 0)
        rc = bm_landing_forget(&job->landing, err);
    if (rc)
        return rc;
    rc = bm_landing_make(&job->landing, job->how->state_dir, job->source->size,
                         err);
    job->fresh = true;
    if (rc == 0)
        rc = bm_landing_claim(&job->landing, err);
    if (rc == 0)
        rc = bm_transfer_open_target(job, err);
    if (rc == 0 && wants_digests(job->how))
        rc = bm_manifest_new(job->landing.spool, NULL, job->how->digest,
                             job->source->size, &job->digests, err);
    if (rc)
        return rc;
    job->done = bm_bitmap_new(job->source->size, BM_DIGEST_BLOCK);
    return job->done
               ? 0
               : bm_fail_errno(err, ENOMEM, "cannot copy %s", job->how->source);
}

static int part_is_gone(const struct bm_transfer_job *job, struct bm_error *err)
{
    bm_fail(err, ENOENT, "cannot go on with the rescue of %s",
            job->how->source);
    bm_cause(err, "%s is gone, which the map %s is about", job->landing.part,
             job->how->mapfile);
    return bm_status(err, BM_EXIT_REFUSED);
}

/* What ddrescue wrote bears its own name already; from now on it does not look
 * whole until it is. */
static int take_up_rescue(struct bm_transfer_job *job, struct bm_error *err)
{
    struct bm_landing *l = &job->landing;
    int rc =
        bm_mapfile_load(job->how->mapfile, job->source->size, &job->map, err);

    if (rc)
        return rc;
    if (!bm_landing_exists(l)) {
        if (bm_mapfile_noted(job->map, "part"))
            return part_is_gone(job, err);
        rc = bm_landing_adopt(l, err);
    }
    if (rc == 0)
        rc = bm_landing_extend(l, job->source->size, err);
    if (rc == 0)
        rc = bm_landing_claim(l, err);
    if (rc == 0)
        rc = bm_transfer_open_target(job, err);
    if (rc == 0 && wants_digests(job->how))
        rc = bm_manifest_new(l->spool, NULL, job->how->digest,
                             job->source->size, &job->digests, err);
    return rc;
}

static int no_map(const struct bm_transfer_job *job, struct bm_error *err)
{
    bm_fail(err, ENOENT, "cannot go on with the rescue of %s",
            job->how->source);
    bm_cause(err, "there is no map %s", job->how->mapfile);
    return bm_status(err, BM_EXIT_REFUSED);
}

static int map_exists(const struct bm_transfer_job *job, struct bm_error *err)
{
    bm_fail(err, EEXIST, "cannot rescue %s", job->how->source);
    bm_cause(err, "the map %s exists", job->how->mapfile);
    bm_remedy(err, "--resume goes on by it");
    return bm_status(err, BM_EXIT_REFUSED);
}

static bool can_take_up(const struct bm_transfer_job *job)
{
    return !job->how->rescue && job->how->resume &&
           bm_landing_exists(&job->landing) &&
           access(job->landing.state, F_OK) == 0;
}

static int start(struct bm_transfer_job *job, struct bm_error *err)
{
    const struct bm_transfer *t = job->how;

    if (t->rescue && access(t->mapfile, F_OK) == 0)
        return t->resume ? take_up_rescue(job, err) : map_exists(job, err);
    if (t->rescue && t->resume)
        return no_map(job, err);
    return can_take_up(job) ? take_up(job, err) : begin(job, err);
}

/* --- copying --- */

static int checkpoint(void *opaque, const struct bm_bitmap *written,
                      struct bm_error *err)
{
    struct bm_transfer_job *job = opaque;
    struct bm_transfer_identity id = identity(job);

    return bm_transfer_state_save(job->landing.state, &id, written, err);
}

int bm_transfer_copy(struct bm_transfer_job *job, const struct bm_bitmap *only,
                     struct bm_error *err)
{
    struct bm_copy copy = {.source = job->source,
                           .target = job->target,
                           .only = only ? only : job->todo,
                           .digests = job->digests,
                           .written = job->done,
                           .throttle = job->throttle,
                           .checkpoint = checkpoint,
                           .progress = bm_transfer_tick,
                           .opaque = job};
    struct bm_copy_result sum;
    int rc;

    job->phase = "copying";
    job->started = true;
    rc = bm_copy_run(&copy, &sum, err);
    job->result->data += sum.data;
    job->result->zeroes += sum.zeroes;
    return rc;
}

/* What was written is not lost for a `resume`, if it can be made durable. */
static void keep_what_is_done(struct bm_transfer_job *job,
                              const struct bm_error *why)
{
    struct bm_error ignored = BM_ERROR_INIT;

    if (!job->started || !job->target || !job->done || job->how->rescue)
        return;
    /* A server that failed may say yes to a second flush, and have lost what
     * the first one was for. A file of ours remembers. */
    if (!job->target->local && why->code != ECANCELED)
        return;
    if (bm_device_flush(job->target, &ignored) == 0 &&
        (!job->digests || bm_manifest_sync(job->digests, &ignored) == 0))
        (void)checkpoint(job, job->done, &ignored);
}

/* --- the end --- */

static int copy_manifest(struct bm_transfer_job *job, struct bm_error *err)
{
    const char *path = job->how->manifest;
    int rc = bm_manifest_finish(job->digests, job->result->root,
                                &job->result->partial, err);

    if (rc || !path)
        return rc;
    return bm_manifest_save(job->digests, path, err);
}

static int copy_all(struct bm_transfer_job *job, struct bm_error *err)
{
    int64_t start = bm_now_ms();
    int rc = job->how->rescue ? bm_transfer_rescue(job, err)
                              : bm_transfer_copy(job, NULL, err);

    job->result->copy_ms = bm_now_ms() - start;
    if (rc == 0 && job->how->verify)
        rc = bm_transfer_verify(job, err);
    if (rc == 0 && job->digests)
        rc = copy_manifest(job, err);
    if (rc == 0)
        rc = bm_landing_land(&job->landing, job->how->force, err);
    return rc;
}

static int say_unreadable(struct bm_transfer_job *job, struct bm_error *err)
{
    if (job->result->n_bad == 0)
        return 0;
    bm_fail(err, EIO, "%s was copied but for %llu bytes in %zu ranges",
            job->how->source, (unsigned long long)job->result->bad_bytes,
            job->result->n_bad);
    bm_cause(err, "they cannot be read");
    if (job->result->filled_bytes)
        bm_cause(err, "they cannot be read; %llu bytes of them come from %s",
                 (unsigned long long)job->result->filled_bytes,
                 job->how->fill_from);
    return bm_status(err, BM_EXIT_UNREADABLE);
}

static void name_the_way(struct bm_transfer_job *job, struct bm_error *err)
{
    if (!job->started || err->remedy[0] || err->status == BM_EXIT_PROOF)
        return;
    bm_remedy(err, "the same command with --resume goes on");
}

/* A server that was started anew looks the same and may have nothing. */
static int cannot_trust(const struct bm_transfer_job *job, struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot go on with the copy to %s", job->how->target);
    bm_cause(err, "whether the server still has what was copied is not known");
    bm_remedy(err, "give --verify in all runs, which finds out");
    return bm_status(err, BM_EXIT_REFUSED);
}

static int prepare(struct bm_transfer_job *job, struct bm_error *err)
{
    const struct bm_transfer *t = job->how;
    int rc = bm_landing_look(t, &job->landing, err);

    if (rc == 0 && t->manifest)
        rc = bm_manifest_may_replace(t->manifest, err);
    if (rc == 0 && t->resume && !t->verify &&
        job->landing.kind == BM_LANDING_SERVER)
        rc = cannot_trust(job, err);

    if (rc == 0)
        rc = bm_landing_apart(&job->landing, t->source, t->source_format, err);
    if (rc == 0)
        rc = open_source(job, err);
    job->throttle = bm_throttle_new(t->bandwidth);
    if (rc == 0 && !job->throttle)
        rc = bm_fail_errno(err, ENOMEM, "cannot copy %s", t->source);
    return rc;
}

static void release(struct bm_transfer_job *job)
{
    bm_device_close(job->source);
    bm_device_close(job->target);
    bm_manifest_close(job->digests);
    bm_throttle_free(job->throttle);
    bm_bitmap_free(job->done);
    bm_bitmap_free(job->todo);
    bm_mapfile_free(job->map);
    bm_landing_clear(&job->landing);
    free(job->source_id);
    free(job->target_id);
}

int bm_transfer_run(const struct bm_transfer *transfer,
                    struct bm_transfer_result *result, struct bm_error *err)
{
    struct bm_transfer_job job = {.how = transfer, .result = result};
    int rc;

    memset(result, 0, sizeof *result);
    rc = prepare(&job, err);
    if (rc == 0)
        rc = start(&job, err);
    if (rc == 0) {
        rc = copy_all(&job, err);
        if (rc)
            keep_what_is_done(&job, err);
        else
            rc = say_unreadable(&job, err);
        if (rc && err->status != BM_EXIT_UNREADABLE)
            name_the_way(&job, err);
    }
    release(&job);
    return rc;
}
