// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The proof: every byte of the old image against the frozen new one. Both
 * are held with QEMU's own "write not shared" lock meanwhile, so that nobody
 * changes them while we read.
 */
#include "blockmig/replica/replica.h"
#include "blockmig/image/frozen-chain.h"
#include "nbd/compare/compare.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/job/job-store.h"
#include "blockmig/run/context.h"
#include "blockmig/run/run.h"
#include "blockmig/step/step.h"

#include <errno.h>
#include <string.h>

/* Progress over all disks. */
struct sum {
    struct bm_run *run;
    uint64_t before, total;
};

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct sum *sum = opaque;

    (void)total;
    bm_run_progress(sum->run, sum->before + done, sum->total);
    return 0;
}

static void record(struct bm_job_disk *disk,
                   const struct bm_compare_result *result)
{
    disk->proof.proven = result->equal;
    disk->proof.bytes = result->size;
    disk->proof.read = result->data_read;
    disk->proof.different = result->different;
    snprintf(disk->proof.medium, sizeof disk->proof.medium, "%s",
             result->medium);
    memcpy(disk->proof.digest_source, result->root_a,
           sizeof disk->proof.digest_source);
    memcpy(disk->proof.digest_dest, result->root_b,
           sizeof disk->proof.digest_dest);
}

static int mismatch(const struct bm_job_disk *disk,
                    const struct bm_compare_result *result,
                    struct bm_error *err)
{
    bm_fail(err, EBADMSG, "the proof of disk %s failed", disk->target);
    bm_cause(
        err,
        "%llu bytes in %zu ranges of %s differ from %s, the first at "
        "offset %llu",
        (unsigned long long)result->different, result->n_ranges,
        disk->dest.layers[0].path, disk->source.layers[0].path,
        (unsigned long long)(result->n_ranges ? result->ranges[0].offset : 0));
    bm_status(err, BM_EXIT_PROOF);
    return -EBADMSG;
}

/* One that has bad sectors: what was read of it, by its digests. */
static int prove_read(struct sum *sum, struct bm_job_disk *disk,
                      struct bm_error *err)
{
    const struct bm_replica_how how = {.dir = bm_job_store_dir(sum->run->jobs),
                                       .id = sum->run->job->id,
                                       .disk = disk->target,
                                       .image = bm_job_new_image(disk),
                                       .size = disk->fixed.capacity,
                                       .map = disk->rescue.map,
                                       .progress = on_progress,
                                       .opaque = sum};
    struct bm_replica_proof proof = {0};
    struct bm_replica *replica = NULL;
    int rc = bm_target_check(disk, err);

    if (!rc)
        rc = bm_replica_open(&how, &replica, err);
    if (!rc)
        rc = bm_replica_equal(replica, &disk->source, &disk->dest, &proof, err);
    bm_replica_close(replica);
    disk->proof.read += proof.bytes;
    return rc;
}

static int prove_disk(struct sum *sum, struct bm_job_disk *disk,
                      struct bm_error *err)
{
    const struct bm_compare_how how = {
        .digests = true, .progress = on_progress, .opaque = sum};
    struct bm_compare_result result = {0};
    BM_FROZEN_CHAIN old = {0}, new = {0};
    int rc;

    if (disk->rescue.unproven_bytes)
        return prove_read(sum, disk, err);
    rc = bm_frozen_chain_open(&disk->source, 0, &old, err);
    if (!rc)
        rc = bm_target_check(disk, err);
    if (!rc)
        rc = bm_frozen_chain_open(&disk->dest, 0, &new, err);
    if (!rc)
        rc = bm_compare(old.device, new.device, &how, &result, err);
    if (rc)
        return rc;
    record(disk, &result);
    sum->before += result.size;
    rc = bm_run_save(sum->run, NULL, err);
    if (!rc && !result.equal)
        rc = mismatch(disk, &result, err);
    bm_compare_result_clear(&result);
    return rc;
}

int bm_prove_disk(struct bm_run *run, struct bm_job_disk *disk,
                  struct bm_error *err)
{
    struct sum sum = {.run = run, .total = disk->fixed.capacity};

    return prove_disk(&sum, disk, err);
}

int bm_step_prove(struct bm_run *run, struct bm_error *err)
{
    struct sum sum = {.run = run};
    int64_t start = bm_now_ms();
    int rc = 0;

    for (size_t i = 0; i < run->job->n_disks; i++)
        sum.total += run->job->disks[i].fixed.capacity;
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = prove_disk(&sum, &run->job->disks[i], err);
    run->job->result.prove_ms = bm_now_ms() - start;
    return rc;
}
