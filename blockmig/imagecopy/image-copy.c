// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/imagecopy/image-copy.h"

#include "blockmig/image/owned-file.h"
#include "blockmig/image/file-identity.h"
#include "blockmig/imagecopy/image-copy-private.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/paths.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void bm_image_copy_result_clear(struct bm_image_copy_result *result)
{
    free(result->bad);
    memset(result, 0, sizeof *result);
}

/* --- opening --- */

static int open_source(struct bm_image_copy_job *job, struct bm_error *err)
{
    const struct bm_image_copy *t = job->how;
    struct bm_open how = {.format = t->source_format,
                          .queues = bm_device_lanes(),
                          .direct = t->direct,
                          .share = t->share,
                          .tls_certificates = t->tls_certificates,
                          .tls_psk = t->tls_psk};
    int rc = bm_device_open(t->source, &how, &job->source, err);

    if (rc)
        return rc;
    job->result->size = job->source->size;
    job->source_id = bm_identity_of_content(t->source, t->source_format,
                                            job->source->size, err);
    return job->source_id ? 0 : -err->code;
}

/* --- copying --- */

/* What was written is not lost for a `resume`, if it can be made durable: a
 * device where a write or a flush has failed says no from then on. */
static void keep_what_is_done(struct bm_image_copy_job *job)
{
    struct bm_error ignored = BM_ERROR_INIT;

    if (!job->started || !job->target || !job->done || job->how->rescue)
        return;
    if (bm_device_flush(job->target, &ignored) == 0 &&
        (!job->digests || bm_manifest_sync(job->digests, &ignored) == 0))
        (void)bm_image_copy_checkpoint(job, job->done, &ignored);
}

/* --- the end --- */

static int copy_manifest(struct bm_image_copy_job *job, struct bm_error *err)
{
    const char *path = job->how->manifest;
    int rc = bm_manifest_finish(job->digests, job->result->root,
                                &job->result->partial, err);

    if (rc || !path)
        return rc;
    return bm_manifest_save(job->digests, path, err);
}

static int copy_all(struct bm_image_copy_job *job, struct bm_error *err)
{
    int64_t start = bm_now_ms();
    int rc = job->how->rescue ? bm_image_copy_rescue(job, err)
                              : bm_image_copy_copy(job, NULL, err);

    job->result->copy_ms = bm_now_ms() - start;
    if (rc == 0 && job->how->verify)
        rc = bm_image_copy_verify(job, err);
    if (rc == 0 && job->digests)
        rc = copy_manifest(job, err);
    if (rc == 0)
        rc = bm_destination_land(&job->destination, job->how->force, err);
    return rc;
}

static int say_unreadable(struct bm_image_copy_job *job, struct bm_error *err)
{
    if (job->result->n_bad == 0)
        return 0;
    bm_fail(err, EIO, "%s was copied but for %llu bytes in %zu range%s",
            job->how->source, (unsigned long long)job->result->bad_bytes,
            job->result->n_bad, job->result->n_bad == 1 ? "" : "s");
    bm_cause(err, "they cannot be read");
    return bm_status(err, BM_EXIT_UNREADABLE);
}

static void name_the_way(struct bm_image_copy_job *job, struct bm_error *err)
{
    if (!job->started || err->remedy[0] || err->status == BM_EXIT_PROOF)
        return;
    bm_remedy(err, "the same command with --resume goes on");
}

/* A server that was started anew looks the same and may have nothing. */
static int cannot_trust(const struct bm_image_copy_job *job,
                        struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot go on with the copy to %s", job->how->target);
    bm_cause(err, "whether the server still has what was copied is not known");
    bm_remedy(err, "give --verify in all runs, which finds out");
    return bm_status(err, BM_EXIT_REFUSED);
}

/* It could not be recorded, nor told in one line. */
static int check_name(const char *name, struct bm_error *err)
{
    if (!name || !strchr(name, '\n'))
        return 0;
    bm_fail(err, EINVAL, "cannot copy from or to a name with a line break");
    return bm_status(err, BM_EXIT_REFUSED);
}

static int check_names(const struct bm_image_copy *t, struct bm_error *err)
{
    int rc = check_name(t->source, err);

    if (rc == 0)
        rc = check_name(t->target, err);
    return rc ? rc : check_name(t->fill_from, err);
}

/* Neither of the two needs to exist. */
static bool same_place(const char *a, const char *b)
{
    BM_FREE char *in_a = bm_file_folder(a), *in_b = bm_file_folder(b);
    const char *slash_a = strrchr(a, '/'), *slash_b = strrchr(b, '/');

    return in_a && in_b &&
           strcmp(slash_a ? slash_a + 1 : a, slash_b ? slash_b + 1 : b) == 0 &&
           bm_same_file(in_a, in_b);
}

static int check_manifest(const struct bm_image_copy *t, struct bm_error *err)
{
    if (!same_place(t->manifest, t->target))
        return bm_manifest_may_replace(t->manifest, err);
    bm_fail(err, EINVAL, "cannot write the manifest %s", t->manifest);
    bm_cause(err, "that is the target");
    bm_remedy(err, "give another name");
    return bm_status(err, BM_EXIT_USAGE), -EINVAL;
}

static int prepare(struct bm_image_copy_job *job, struct bm_error *err)
{
    const struct bm_image_copy *t = job->how;
    int rc = check_names(t, err);

    if (rc == 0)
        rc = bm_destination_look(t, &job->destination, err);
    if (rc == 0 && t->manifest)
        rc = check_manifest(t, err);
    if (rc == 0 && t->resume && !t->verify &&
        job->destination.kind == BM_DESTINATION_SERVER)
        rc = cannot_trust(job, err);

    if (rc == 0)
        rc = bm_destination_apart(&job->destination, t->source,
                                  t->source_format, err);
    if (rc == 0)
        rc = open_source(job, err);
    job->rate_limit = bm_rate_limit_new(t->bandwidth);
    if (rc == 0 && !job->rate_limit)
        rc = bm_fail_errno(err, ENOMEM, "cannot copy %s", t->source);
    return rc;
}

static void release(struct bm_image_copy_job *job)
{
    bm_device_close(job->source);
    bm_device_close(job->target);
    bm_manifest_close(job->digests);
    bm_rate_limit_free(job->rate_limit);
    bm_bitmap_free(job->done);
    bm_bitmap_free(job->todo);
    bm_mapfile_free(job->map);
    bm_destination_clear(&job->destination);
    free(job->source_id);
    free(job->target_id);
}

int bm_image_copy_run(const struct bm_image_copy *copy,
                      struct bm_image_copy_result *result, struct bm_error *err)
{
    struct bm_image_copy_job job = {.how = copy, .result = result};
    int rc;

    memset(result, 0, sizeof *result);
    rc = prepare(&job, err);
    if (rc == 0)
        rc = bm_image_copy_start(&job, err);
    else if (err->status == BM_EXIT_FAILED)
        bm_status(err, BM_EXIT_REFUSED); /* nothing was touched yet */
    if (rc == 0) {
        rc = copy_all(&job, err);
        if (rc)
            keep_what_is_done(&job);
        else
            rc = say_unreadable(&job, err);
        if (rc && err->status != BM_EXIT_UNREADABLE)
            name_the_way(&job, err);
    }
    release(&job);
    return rc;
}
