// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job.h"

#include "nbd/base/units.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

const char *bm_job_noun(const struct bm_job *job)
{
    const char *noun = bm_strategy_traits_of(job->plan.strategy)->noun;

    if (noun)
        return noun;
    return job->snapshot ? job->snapshot->verb : "move";
}

bool bm_job_id_valid(const char *id)
{
    return strlen(id) == BM_JOB_ID_LEN - 1 &&
           strspn(id, "0123456789abcdef") == BM_JOB_ID_LEN - 1;
}

/* getrandom may be interrupted or, early at boot, give less than asked. */
static int random_bytes(void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = getrandom((char *)buf + done, len - done, 0);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

struct bm_job *bm_job_new(void)
{
    struct bm_job *job = calloc(1, sizeof *job);
    uint32_t id;

    if (!job || random_bytes(&id, sizeof id) < 0) {
        free(job);
        return NULL;
    }
    snprintf(job->id, sizeof job->id, "%08x", id);
    job->created_ms = job->updated_ms = bm_wall_ms();
    return job;
}

struct bm_job_request *bm_job_fill_request(struct bm_job *job)
{
    return (struct bm_job_request *)&job->request;
}

struct bm_job_plan *bm_job_fill_plan(struct bm_job *job)
{
    return (struct bm_job_plan *)&job->plan;
}

struct bm_job_disk_fixed *bm_job_fill_disk(struct bm_job_disk *disk)
{
    return (struct bm_job_disk_fixed *)&disk->fixed;
}

void bm_job_set_state(struct bm_job *job, enum bm_state state)
{
    *(enum bm_state *)&job->state = state;
}

static void disk_clear(struct bm_job_disk *disk)
{
    free(disk->target);
    free(disk->fixed.switch_overlay);
    free(disk->fixed.rollback_overlay);
    free(disk->fixed.source_overlay_dir);
    free(disk->fixed.mirror_overlay);
    for (size_t k = 0; k < disk->n_lower; k++)
        free(disk->lower[k].create);
    free(disk->lower);
    free(disk->fixed.shared);
    free(disk->fixed.create);
    free(disk->rescue.map);
    bm_chain_clear(&disk->source);
    bm_chain_clear(&disk->dest);
}

void bm_job_free(struct bm_job *job)
{
    if (!job)
        return;
    for (size_t i = 0; i < job->n_disks; i++)
        disk_clear(&job->disks[i]);
    free(job->disks);
    bm_job_snapshot_free(job->snapshot);
    free(job->domain);
    free(job->uri);
    free(job->plan.why);
    free(job->plan.place_why);
    free(job->host);
    free(job->store);
    free(job->request.format);
    free(job->plan.chain);
    free(job->request.fill_from);
    free(job->result.error);
    free(job);
}

bool bm_job_before_switch(const struct bm_job *job)
{
    return bm_state_traits_of(job->state)->before_switch;
}

int bm_job_needs_operator(const struct bm_job *job, struct bm_error *err)
{
    bm_fail(err, BM_NEEDS_OPERATOR, "cannot go on with the %s of %s",
            bm_job_noun(job), job->domain);
    return bm_status(err, BM_EXIT_HELD), -BM_NEEDS_OPERATOR;
}
