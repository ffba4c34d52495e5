// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/guard/pivot-freeze.h"

#include "blockmig/image/owned-file.h"
#include "blockmig/guard/overlay-transaction.h"
#include "blockmig/image/overlay-image.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/job/disk-location.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "snapshot/blockjob/blockjob.h"
#include "snapshot/libvirt/timed-call.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

int bm_location_count_look(const struct bm_domain *domain,
                           const struct bm_job *job,
                           struct bm_location_count *count,
                           struct bm_error *err)
{
    memset(count, 0, sizeof *count);
    for (size_t i = 0; i < job->n_disks; i++) {
        const struct bm_job_disk *plan = &job->disks[i];
        struct bm_disk *disk =
            bm_domain_disk((struct bm_domain *)domain, plan->target);
        int at = bm_disk_location(domain, disk, plan, err);

        if (at < 0)
            return at;
        count->at_source += at == BM_AT_SOURCE;
        count->at_dest += at == BM_AT_DEST;
        count->at_overlay += at == BM_AT_OVERLAY;
    }
    if (count->at_source + count->at_dest + count->at_overlay == job->n_disks)
        return 0;
    bm_fail(err, ESTALE, "the disks of %s are not as we left them",
            job->domain);
    return bm_cause(err, "someone changed a disk during the switch"), -ESTALE;
}

/* Asks for each pivot once; a pivot that is under way already refuses. */
static int pivot_ready(struct bm_connection *conn, struct bm_domain *domain,
                       const struct bm_job *job, bool *sent,
                       struct bm_error *err)
{
    for (size_t i = 0; i < job->n_disks; i++) {
        struct bm_disk *disk = bm_domain_disk(domain, job->disks[i].target);
        struct bm_blockjob pivot;
        int rc;

        if (sent[i] || !disk ||
            !bm_chain_equal(&disk->chain, &job->disks[i].source))
            continue;
        if (!disk->mirror) {
            bm_fail(err, EIO, "cannot switch disk %s of %s", disk->target,
                    job->domain);
            return bm_cause(err, "its copy job has vanished"), -EIO;
        }
        bm_blockjob_adopt(conn, domain, disk->target, &pivot);
        rc = bm_blockjob_pivot(&pivot, bm_call_ms(), err);
        if (rc && rc != -EINVAL && rc != -EBUSY)
            return rc;
        sent[i] = rc == 0 || !disk->mirror_ready;
    }
    return 0;
}

int bm_pivot_freeze_prepare(const struct bm_job *job, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < job->n_disks; i++) {
        const struct bm_job_disk *plan = &job->disks[i];
        const struct bm_layer *below = &plan->dest.layers[0];
        uint64_t size;

        rc = bm_file_remove(plan->fixed.switch_overlay, err);
        if (!rc)
            rc = bm_overlay_below(below, &size, err);
        if (!rc)
            rc = bm_overlay_make(plan->fixed.switch_overlay, below, size, err);
    }
    return rc;
}

/* A window that is ended by another process than the one that began it may
 * find none: then libvirt makes them. */
static bool prepared(const struct bm_job *job)
{
    struct stat st;

    for (size_t i = 0; i < job->n_disks; i++)
        if (stat(job->disks[i].fixed.switch_overlay, &st) < 0 ||
            st.st_size == 0)
            return false;
    return true;
}

static int freeze(struct bm_domain *domain, const struct bm_job *job,
                  struct bm_error *err)
{
    BM_FREE const char **overlays = calloc(job->n_disks, sizeof *overlays);

    if (!overlays)
        return bm_fail_errno(err, ENOMEM, "cannot freeze %s", job->domain);
    for (size_t i = 0; i < job->n_disks; i++)
        overlays[i] = job->disks[i].fixed.switch_overlay;
    return bm_overlays_put(domain, job, overlays, prepared(job), err);
}

/* Waits for anything to happen to the domain, a little while. */
static void wait_event(struct bm_connection *conn, const char *uuid,
                       uint64_t *seq)
{
    struct bm_event event;

    (void)bm_connection_next(conn, uuid, seq, 50, &event);
}

int bm_pivot_freeze_finish(struct bm_connection *conn, struct bm_domain *domain,
                           const struct bm_job *job, int timeout_ms,
                           struct bm_error *err)
{
    BM_FREE bool *sent = calloc(job->n_disks, sizeof *sent);
    int64_t until = bm_now_ms() + timeout_ms;
    bool frozen = false;
    int frozen_rc = 0;
    struct bm_location_count count;

    if (!sent)
        return bm_fail_errno(err, ENOMEM, "cannot switch %s", job->domain);
    for (;;) {
        uint64_t seq = bm_connection_mark(conn);
        int rc = bm_domain_refresh(conn, domain, err);

        if (!rc)
            rc = bm_location_count_look(domain, job, &count, err);
        if (rc)
            return rc;
        if (count.at_overlay == job->n_disks ||
            (!job->request.proof && count.at_source == 0))
            return 0;
        if (count.at_source == 0) {
            /* a freeze that failed because another one came first (the
             * guard's) shows as done at the next look */
            if (frozen)
                return frozen_rc ? frozen_rc
                                 : bm_fail(err, EIO, "%s was not frozen",
                                           job->domain);
            bm_failpoint("switching.pivoted");
            frozen = true;
            frozen_rc = freeze(domain, job, err);
            if (frozen_rc == -ETIMEDOUT)
                return frozen_rc;
            continue;
        }
        rc = pivot_ready(conn, domain, job, sent, err);
        if (rc)
            return rc;
        bm_failpoint("switching.pivot-sent");
        if (bm_now_ms() > until) {
            bm_fail(err, ETIME, "the pivot of %s takes too long", job->domain);
            return bm_cause(err, "not done after %d ms", timeout_ms), -ETIME;
        }
        wait_event(conn, domain->uuid, &seq);
    }
}
