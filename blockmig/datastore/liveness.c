// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/datastore/liveness.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "snapshot/libvirt/timed-call.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define BLOCK 4096

static int ask(void *arg)
{
    _Alignas(BLOCK) char block[BLOCK];
    int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    BM_CLOSE int fd = open(arg, flags | O_DIRECT);

    /* without O_DIRECT there the page cache may answer; better than nothing */
    if (fd < 0 && errno == EINVAL)
        fd = open(arg, flags);
    if (fd >= 0)
        (void)!pread(fd, block, sizeof block, 0);
    return 0;
}

int bm_store_is_alive(const char *path, struct bm_error *err)
{
    char *copy = strdup(path);
    int rc;

    if (!copy)
        return bm_fail_errno(err, ENOMEM, "cannot look at %s", path);
    rc = bm_call("cannot go on", bm_call_ms(), ask, copy, free, err);
    if (rc == -ETIMEDOUT) {
        bm_fail(err, ETIMEDOUT, "%s does not answer", path);
        bm_cause(err, "not one block could be read within %d ms", bm_call_ms());
        bm_remedy(err, "see what became of its store");
        bm_status(err, BM_EXIT_HELD);
    } else {
        free(copy);
    }
    return rc;
}

int bm_store_is_alive_early(const char *path, struct bm_error *err)
{
    int rc = bm_store_is_alive(path, err);

    return rc ? bm_status(err, BM_EXIT_REFUSED), rc : 0;
}

int bm_liveness_old(const struct bm_job *job, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < job->n_disks; i++) {
        const struct bm_job_disk *disk = &job->disks[i];

        rc = bm_store_is_alive(disk->source.layers[0].path, err);
        if (!rc && disk->overlays.n_source)
            rc = bm_store_is_alive(bm_job_old(disk, 0)->path, err);
    }
    return rc;
}

int bm_liveness_new(const struct bm_job *job, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < job->n_disks; i++)
        rc = bm_store_is_alive(bm_job_new_image(&job->disks[i])->path, err);
    return rc;
}

int bm_liveness_all(const struct bm_job *job, struct bm_error *err)
{
    int rc = bm_liveness_new(job, err);

    return rc ? rc : bm_liveness_old(job, err);
}

int bm_stall_timer_check(struct bm_stall_timer *stall, const struct bm_job *job,
                         uint64_t moved, int ms, struct bm_error *err)
{
    int64_t now = bm_now_ms();
    int rc;

    if (!stall->since_ms || moved != stall->moved) {
        *stall = (struct bm_stall_timer){.moved = moved, .since_ms = now};
        return 0;
    }
    if (now - stall->since_ms < ms)
        return 0;
    rc = bm_liveness_all(job, err);
    stall->since_ms = bm_now_ms();
    return rc;
}
