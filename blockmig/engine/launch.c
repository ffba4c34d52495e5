// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/engine/launch.h"

#include "blockmig/job/disk-location.h"
#include "blockmig/job/failpoint.h"
#include "snapshot/domain/domain.h"

#include <errno.h>
#include <string.h>

int bm_launch_claim(const struct bm_launch *launch, int *lock,
                    struct bm_error *err)
{
    const struct bm_engine *engine = &launch->engine;
    int fd;

    bm_failpoint("planned");
    fd = bm_job_run_lock(engine->jobs, engine->job->id, err);
    *lock = fd < 0 ? -1 : fd;
    return fd < 0 ? fd : bm_job_store_claim(engine->jobs, engine->job, err);
}

int bm_launch_check_chains(struct bm_connection *conn, const struct bm_job *job,
                           struct bm_error *err)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_domain *domain = NULL;
    int rc = bm_domain_open(conn, job->uuid, &domain, err);

    for (size_t i = 0; !rc && i < job->n_disks; i++) {
        const struct bm_job_disk *disk = &job->disks[i];

        if (bm_disk_location(domain, bm_domain_disk(domain, disk->target), disk,
                             &ignored) != BM_AT_FOREIGN)
            continue;
        bm_fail(err, ESTALE, "cannot %s %s", bm_job_noun(job), job->domain);
        bm_cause(err, "the chain of disk %s has changed since this was planned",
                 disk->target);
        bm_remedy(err, "try again");
        rc = -ESTALE;
        bm_status(err, BM_EXIT_REFUSED);
    }
    bm_domain_free(domain);
    return rc;
}

static int cancelled(const struct bm_job *job, struct bm_error *err)
{
    bm_fail(err, ECANCELED, "cannot %s %s", bm_job_noun(job), job->domain);
    bm_cause(err, "cancelled before anything was touched");
    return -ECANCELED;
}

int bm_launch_check(const struct bm_launch *launch, struct bm_error *err)
{
    const struct bm_engine *engine = &launch->engine;
    struct bm_preflight list = {0};
    int rc;

    bm_job_set_state(engine->job, BM_STATE_PREFLIGHT);
    rc = bm_job_store_save(engine->jobs, engine->job, NULL, err);
    if (!rc)
        rc = launch->check(launch->opaque, &list, err);
    if (!rc && launch->checked)
        launch->checked(launch->opaque, &list);
    if (!rc)
        rc = bm_preflight_error(&list, err);
    bm_preflight_clear(&list);
    if (!rc && engine->hooks->cancelled(engine->hooks->opaque))
        return cancelled(engine->job, err);
    return rc;
}

int bm_launch_run(const struct bm_launch *launch, bool *ran,
                  struct bm_error *err)
{
    const struct bm_engine *engine = &launch->engine;
    int rc = bm_launch_check(launch, err);

    if (!rc && launch->ready)
        rc = launch->ready(launch->opaque, err);
    *ran = !rc;
    if (!rc)
        return bm_engine_run(engine, err);
    /* nothing was touched: the job leaves no trace, and its refusal is what
     * is told, not that the store kept it */
    (void)bm_job_store_forget(engine->jobs, engine->job->id, NULL);
    return rc;
}

int bm_launch_take_up(struct bm_job_store *jobs, const char *id,
                      struct bm_job **job, int *lock, struct bm_error *err)
{
    int fd = bm_job_run_lock(jobs, id, err);

    *lock = fd < 0 ? -1 : fd;
    return fd < 0 ? fd : bm_job_store_load(jobs, id, job, err);
}

int bm_launch_result(struct bm_job *job, int rc, struct bm_error *err)
{
    char line[2100];

    /* a run that failed must not say 0, whatever the journal says */
    if (rc < 0 && job->result.exit_status == BM_EXIT_DONE)
        job->result.exit_status = (int)err->status;
    if (rc < 0 && !job->result.error) {
        bm_error_line(err, line, sizeof line);
        job->result.error = strdup(line);
    }
    if (rc < 0)
        err->status = (enum bm_exit)job->result.exit_status;
    return rc < 0 ? rc : job->result.exit_status;
}
