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
    const char *noun = bm_strategy_traits(job->strategy)->noun;

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

static void disk_clear(struct bm_job_disk *disk)
{
    free(disk->target);
    free(disk->overlay);
    free(disk->back);
    free(disk->front_dir);
    free(disk->bridge);
    for (size_t k = 0; k < disk->n_lower; k++)
        free(disk->lower[k].create);
    free(disk->lower);
    free(disk->shared);
    free(disk->create);
    free(disk->map);
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
    free(job->why);
    free(job->place_why);
    free(job->host);
    free(job->store);
    free(job->format);
    free(job->chain);
    free(job->fill_from);
    free(job->error);
    free(job);
}

bool bm_move_before_switch(const struct bm_job *job)
{
    return bm_state_traits(job->state)->before_switch;
}

int bm_stuck(const struct bm_job *job, struct bm_error *err)
{
    bm_fail(err, BM_STUCK, "cannot go on with the %s of %s", bm_job_noun(job),
            job->domain);
    return bm_status(err, BM_EXIT_HELD), -BM_STUCK;
}
