// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job.h"

#include "nbd/base/units.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char *const state_names[BM_STATE_COUNT] = {
    [BM_STATE_PLANNED] = "planned",
    [BM_STATE_PREFLIGHT] = "preflight",
    [BM_STATE_ALLOCATING] = "allocating",
    [BM_STATE_FREEZING] = "freezing",
    [BM_STATE_COPYING] = "copying",
    [BM_STATE_PROVING] = "proving",
    [BM_STATE_ITERATING] = "iterating",
    [BM_STATE_CONVERGING] = "converging",
    [BM_STATE_READY] = "ready",
    [BM_STATE_SWITCHING] = "switching",
    [BM_STATE_PROVING_REST] = "proving-rest",
    [BM_STATE_SETTLED] = "settled",
    [BM_STATE_CONSOLIDATING] = "consolidating",
    [BM_STATE_RELEASING] = "releasing",
    [BM_STATE_UNDOING] = "undoing",
    [BM_STATE_ROLLING_BACK] = "rolling-back",
    [BM_STATE_HELD] = "held",
    [BM_STATE_NEEDS_RECOVERY] = "needs-recovery",
    [BM_STATE_DONE] = "done",
    [BM_STATE_ROLLED_BACK] = "rolled-back",
};

const char *bm_state_name(enum bm_state state)
{
    return (unsigned)state < BM_STATE_COUNT ? state_names[state] : "unknown";
}

int bm_state_from_name(const char *name, enum bm_state *out)
{
    for (int i = 0; i < BM_STATE_COUNT; i++) {
        if (strcmp(name, state_names[i]) == 0) {
            *out = (enum bm_state)i;
            return 0;
        }
    }
    return -EINVAL;
}

bool bm_state_final(enum bm_state state)
{
    return state == BM_STATE_DONE || state == BM_STATE_ROLLED_BACK;
}

const char *bm_strategy_name(enum bm_strategy strategy)
{
    static const char *const names[] = {"blockcopy", "staged", "cold",
                                        "pull",      "merge",  "create",
                                        "revert",    "view"};

    return names[strategy];
}

const char *bm_job_noun(const struct bm_job *job)
{
    switch (job->strategy) {
    case BM_STRATEGY_MERGE:
        return "merge";
    case BM_STRATEGY_CREATE:
        return "snapshot";
    case BM_STRATEGY_REVERT:
        return "revert";
    case BM_STRATEGY_VIEW:
        return "view";
    default:
        return job->snapshot ? job->snapshot->verb : "move";
    }
}

const struct bm_layer *bm_job_image(const struct bm_job_disk *disk)
{
    return &disk->dest.layers[disk->dest.n - 1 - (size_t)disk->below];
}

struct bm_chain bm_job_new_chain(const struct bm_job_disk *disk)
{
    return (struct bm_chain){.layers = (struct bm_layer *)bm_job_image(disk),
                             .n = (size_t)disk->below + 1,
                             .complete = true};
}

const struct bm_layer *bm_job_old(const struct bm_job_disk *disk, size_t k)
{
    return &disk->source.layers[(size_t)disk->fronts + k];
}

size_t bm_job_own(const struct bm_job_disk *disk)
{
    return disk->source.n - (size_t)disk->fronts - (size_t)disk->below;
}

bool bm_job_chain_kept(const struct bm_job_disk *disk)
{
    return disk->source.n == (size_t)disk->fronts + (size_t)disk->below + 1;
}

bool bm_job_keeps(const struct bm_job_disk *disk)
{
    bool any = disk->kept && !disk->deleted;

    for (size_t k = 0; k < disk->n_lower; k++)
        any |= disk->lower[k].kept && !disk->lower[k].deleted;
    return any;
}

bool bm_job_bridged(const struct bm_job_disk *disk)
{
    return disk->dest.n > (size_t)disk->below + 1;
}

const char *bm_job_new_top(const struct bm_job *job,
                           const struct bm_job_disk *disk)
{
    return job->strategy == BM_STRATEGY_PULL ? bm_job_image(disk)->path
                                             : disk->overlay;
}

#define FRONT_FIRST 11

/* Numbers from 11 on: the overlays of the other side have one digit. The
 * suffix matters to virt-aa-helper. */
char *bm_job_front(const struct bm_job *job, const struct bm_job_disk *disk,
                   int n)
{
    char *path;

    return asprintf(&path, "%s/.blockmig-%s-%s-%d.qcow2", disk->front_dir,
                    job->id, disk->target, FRONT_FIRST - 1 + n) < 0
               ? NULL
               : path;
}

int bm_job_front_number(const struct bm_job_disk *disk)
{
    const char *path = disk->fronts ? disk->source.layers[0].path : NULL;
    const char *dash = path ? strrchr(path, '-') : NULL;

    return dash ? atoi(dash + 1) - FRONT_FIRST + 1 : 0;
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
