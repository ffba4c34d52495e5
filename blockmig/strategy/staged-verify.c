// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a proof of a new layer finds, and what the report says of it.
 */
#include "blockmig/strategy/staged-private.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/step/written-since.h"

#include <string.h>

static int note_repair(struct bm_run *run, const struct bm_layer *image,
                       const struct bm_replica_proof *proof,
                       struct bm_error *err)
{
    if (!proof->repaired)
        return 0;
    return bm_run_note(
        run, err,
        "%llu bytes of %s did not read back as they were written, the first "
        "at offset %llu: written again, and proven",
        (unsigned long long)proof->repaired, image->path,
        (unsigned long long)proof->repaired_at);
}

int bm_staged_prove(struct bm_replica_run *s, size_t i,
                    const struct bm_chain *view, struct bm_error *err)
{
    struct bm_job_disk *disk = &s->run->job->disks[i];
    struct bm_replica_proof proof = {0};
    int rc = bm_replica_prove(s->replicas[i], view, &proof, err);

    disk->proof.read += proof.bytes;
    disk->proof.repaired += proof.repaired;
    if (proof.medium)
        snprintf(disk->proof.medium, sizeof disk->proof.medium, "%s",
                 proof.medium);
    bm_target_keep_time(disk, s->layer);
    return rc ? rc
              : note_repair(s->run, &bm_job_new_image(disk)[s->layer], &proof,
                            err);
}

int bm_staged_record(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    struct bm_job_disk *disk = &s->run->job->disks[i];
    char root[BM_DIGEST_HEX];
    int rc = bm_replica_run_keep_gaps(s, i, err);

    if (!rc)
        rc = bm_replica_root(s->replicas[i], root, err);
    if (rc)
        return rc;
    /* of a disk that cannot be read whole nobody knows the digest */
    snprintf(disk->proof.digest_source, sizeof disk->proof.digest_source,
             "%.64s", disk->rescue.unproven_bytes ? "" : root);
    snprintf(disk->proof.digest_dest, sizeof disk->proof.digest_dest, "%.64s",
             root);
    disk->proof.bytes = disk->fixed.capacity - disk->rescue.unproven_bytes;
    disk->proof.proven = true;
    return 0;
}

int bm_staged_doubt(struct bm_replica_run *s, size_t i,
                    const struct bm_chain *view, struct bm_error *err)
{
    const struct bm_job_disk *disk = &s->run->job->disks[i];
    int rc;

    if (!bm_target_written_since(disk, s->layer, true))
        return 0;
    rc = bm_run_note(s->run, err,
                     "someone has written to %s: all of it is proven again",
                     bm_job_new_image(disk)[s->layer].path);
    if (!rc)
        rc = bm_replica_doubt(s->replicas[i], err);
    return rc ? rc : bm_staged_prove(s, i, view, err);
}
