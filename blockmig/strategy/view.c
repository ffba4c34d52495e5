// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A fleeting view (copy on write): the disks as they were at one instant, over
 * NBD, while the guest goes on in its own images. The job is the life of it: it
 * ends when somebody asks for that, with the guest, or when the store of the
 * saved blocks is short of room, since then the guest's own writes would fail.
 * When the job's process dies, the guard ends it.
 */
#include "blockmig/image/owned-file.h"
#include "blockmig/guard/guard.h"
#include "blockmig/datastore/space-required.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/strategy/strategy.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "snapshot/blockjob/backup.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 200
#define ROOM_MS 500
#define DOMAIN_MS 2000

static const enum bm_state states[] = {
    BM_STATE_ALLOCATING,
    BM_STATE_FREEZING,
    BM_STATE_SETTLED,
    BM_STATE_RELEASING,
};

static int allocate(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh(run, err);

    if (!rc && !(run->domain && run->domain->active))
        return bm_fail_errno(err, ESRCH, "the guest %s is off",
                             run->job->domain);
    return rc ? rc : bm_step_stamp(run, err);
}

/* --- beginning --- */

static int begin(struct bm_run *run, struct bm_error *err)
{
    BM_FREE struct bm_backup_disk *disks =
        calloc(run->job->n_disks, sizeof *disks);

    if (!disks)
        return bm_fail_errno(err, ENOMEM, "cannot make a view");
    for (size_t i = 0; i < run->job->n_disks; i++)
        disks[i] = (struct bm_backup_disk){
            run->job->disks[i].target, run->job->disks[i].fixed.switch_overlay};
    bm_failpoint("freezing.sent");
    return bm_backup_begin(run->domain, run->job->snapshot->socket, disks,
                           run->job->n_disks, err);
}

static int foreign(const struct bm_run *run, struct bm_error *err)
{
    bm_fail(err, EBUSY, "cannot make a view of %s", run->job->domain);
    return bm_cause(err, "a backup of it is under way that is not ours"),
           -EBUSY;
}

static int freeze(struct bm_run *run, struct bm_error *err)
{
    const char *socket = run->job->snapshot->socket;
    enum bm_backup is;
    int rc = bm_run_refresh(run, err);

    if (!rc && !(run->domain && run->domain->active))
        return bm_fail_errno(err, ESRCH, "the guest %s is off",
                             run->job->domain);
    /* from here on it does not outlive us */
    if (!rc)
        rc = bm_guard_arm(run->guard, bm_job_store_dir(run->jobs), run->job,
                          err);
    if (!rc)
        rc = bm_guard_viewing(run->guard, socket, err);
    if (!rc)
        rc = bm_backup_look(run->domain, socket, &is, err);
    if (!rc && is == BM_BACKUP_FOREIGN)
        rc = foreign(run, err);
    if (!rc && is == BM_BACKUP_NONE)
        rc = begin(run, err);
    bm_failpoint("freezing.frozen");
    return rc;
}

/* --- living --- */

/* A path on a file system with less than the reserve free; NULL: none. */
static const char *short_of_room(const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++) {
        const char *scratch = job->disks[i].fixed.switch_overlay;
        uint64_t available;

        if (bm_space_available(scratch, &available) == 0 &&
            available < bm_ballast_size(scratch))
            return scratch;
    }
    return NULL;
}

/* Words for why it ends, or NULL: it goes on. -errno: libvirt cannot be asked.
 */
static int look_at_domain(struct bm_run *run, const char **why,
                          struct bm_error *err)
{
    enum bm_backup is;
    int rc = bm_run_refresh(run, err);

    if (rc || !run->domain || !run->domain->active) {
        *why = rc ? NULL : "the guest is off";
        return rc;
    }
    rc = bm_backup_look(run->domain, run->job->snapshot->socket, &is, err);
    if (!rc && is != BM_BACKUP_OURS)
        *why = "libvirt has ended it";
    return rc;
}

static int live(struct bm_run *run, struct bm_error *err)
{
    int64_t looked_ms = bm_now_ms(), space_ms = 0;
    const char *why = NULL;
    int rc = 0;

    while (!rc && !why) {
        bm_run_progress(run, 0, 0);
        bm_sleep_ms(LOOK_MS);
        if (bm_run_asked_to_cancel(run))
            why = "as was asked";
        if (!why && bm_now_ms() - space_ms > ROOM_MS && short_of_room(run->job))
            why = "the store of the saved blocks is short of room";
        if (!why && bm_now_ms() - looked_ms > DOMAIN_MS) {
            looked_ms = bm_now_ms();
            rc = look_at_domain(run, &why, err);
        }
    }
    return rc ? rc : bm_run_note(run, err, "the view ends: %s", why);
}

/* --- the end --- */

static int remove_scratch(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = bm_file_remove(run->job->disks[i].fixed.switch_overlay, err);
    return rc;
}

static int release(struct bm_run *run, struct bm_error *err)
{
    struct bm_error ignored = BM_ERROR_INIT;
    int rc = bm_run_refresh(run, err);

    if (!rc && run->domain && run->domain->active)
        rc = bm_backup_end(run->domain, run->job->snapshot->socket, err);
    if (!rc)
        (void)bm_guard_disarm(run->guard, &ignored);
    if (!rc)
        rc = remove_scratch(run, err);
    if (!rc && run->domain)
        rc = bm_domain_stamp(run->domain, NULL, err);
    /* QEMU takes it away, unless it is killed */
    if (!rc && unlink(run->job->snapshot->socket) < 0 && errno != ENOENT)
        rc = bm_fail_errno(err, errno, "cannot remove %s",
                           run->job->snapshot->socket);
    return rc;
}

const struct bm_strategy_ops bm_strategy_view = {
    .states = states,
    .freeze = freeze,
    .settle = live,
    .allocate = allocate,
    .release = release,
    .roll_back = release,
};
