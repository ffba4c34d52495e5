// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/space-watch.h"

#include "blockmig/datastore/liveness.h"
#include "blockmig/run/ballast.h"
#include "blockmig/datastore/space-required.h"
#include "nbd/base/units.h"
#include "nbd/thread/timed-call.h"
#include "snapshot/libvirt/timed-call.h"
#include "blockmig/run/space-private.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 1000

static int no_space(const struct bm_job *job, const char *path, uint64_t left,
                    struct bm_error *err)
{
    char text[32];

    bm_fail(err, ENOSPC, "the %s of %s stops", bm_job_noun(job), job->domain);
    bm_cause(err, "the file system of %s has no room left: %s free", path,
             bm_format_size(left, text, sizeof text));
    return bm_remedy(err, "make room there"), -ENOSPC;
}

int bm_space_held(int rc, struct bm_error *err)
{
    return bm_status(err, BM_EXIT_HELD), rc;
}

/* --- is it enough --- */

int bm_space_check(const struct bm_job *job, uint64_t spare, bool merges,
                   struct bm_error *err)
{
    struct bm_space_required required;
    int rc = bm_space_required_find(job, &required, err);

    for (size_t i = 0; !rc && i < required.n; i++) {
        const struct bm_space_need *it = &required.all[i];
        uint64_t need = it->bytes + spare;

        if (!spare && it->written)
            need += bm_ballast_size(it->path);
        if ((it->bytes || (it->written && !merges)) && it->available < need)
            rc = no_space(job, it->path, it->available, err);
    }
    bm_space_required_clear(&required);
    return rc;
}

int bm_space_merge(const struct bm_job *job, struct bm_error *err)
{
    return bm_space_check(job, BM_SOME_SPACE, true, err);
}

static int check_overlays(const struct bm_job *job, struct bm_error *err)
{
    char text[32];

    for (size_t i = 0; job->request.overlay_max && i < job->n_disks; i++) {
        if (bm_space_required_overlays(job, &job->disks[i]) <=
            job->request.overlay_max)
            continue;
        bm_fail(err, EDQUOT, "the %s of %s stops", bm_job_noun(job),
                job->domain);
        bm_cause(err, "the overlays of disk %s hold more than --overlay-max %s",
                 job->disks[i].target,
                 bm_format_size(job->request.overlay_max, text, sizeof text));
        return bm_remedy(err, "allow more, or move when the guest writes less"),
               -EDQUOT;
    }
    return 0;
}

static int check_back(const struct bm_job *job, const struct bm_job_disk *disk,
                      struct bm_error *err)
{
    const char *path = disk->source.layers[disk->overlays.n_source].path;
    uint64_t available;
    int rc = 0;

    if (access(path, W_OK) != 0)
        rc = -EROFS;
    else if (bm_space_available(path, &available) == 0 &&
             available < bm_space_required_back(disk))
        rc = -ENOSPC;
    if (!rc)
        return 0;
    bm_fail_errno(err, -rc, "cannot go back to %s", path);
    bm_remedy(err,
              "`blockmig job resume %s` goes forward; with --back when that "
              "image takes writes and has room",
              job->id);
    return bm_space_held(rc, err);
}

int bm_space_way_back(const struct bm_job *job, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && job->plan.on_target && i < job->n_disks; i++)
        if (job->disks[i].overlays.n_source > 0)
            rc = check_back(job, &job->disks[i], err);
    return rc;
}

/* --- too little --- */

/* What becomes of the move. Overlays on the target, and a source that takes no
 * writes: the only way out is forward. */
static const char *consequence(struct bm_run *run)
{
    struct bm_error ignored = BM_ERROR_INIT;

    run->watch.verdict = BM_SPACE_STOP;
    if (bm_state_traits_of(run->job->state)->past_switch)
        return bm_state_traits_of(run->job->state)->can_undo ? "no more waiting"
                                                             : "going on";
    if (bm_space_way_back(run->job, &ignored) == 0)
        return "going back";
    run->watch.verdict = BM_SPACE_FORWARD;
    return "going forward, as the source takes no writes";
}

static void give_way(struct bm_run *run, const struct bm_error *why)
{
    struct bm_error ignored = BM_ERROR_INIT;
    const char *then;

    (void)bm_ballast_remove(run, &ignored);
    if (run->watch.verdict != BM_SPACE_WATCHED ||
        !bm_state_traits_of(run->job->state)->needs_space)
        return;
    then = consequence(run);
    run->watch.why = *why;
    (void)bm_run_note(run, &ignored, "%s: the reserve is let go, %s",
                      why->cause, then);
}

static void watch(struct bm_run *run)
{
    struct bm_error why = BM_ERROR_INIT;

    if (run->watch.verdict == BM_SPACE_WATCHED &&
        bm_state_traits_of(run->job->state)->needs_space &&
        (check_overlays(run->job, &why) ||
         bm_space_check(run->job, 0, false, &why)) &&
        why.code != ENOMEM)
        give_way(run, &why);
}

/* --- a guest that is paused for want of it --- */

static bool is_ours(const struct bm_job *job, const struct bm_disk *disk)
{
    const char *path = disk->chain.n ? disk->chain.layers[0].path : NULL;
    const char *slash = path ? strrchr(path, '/') : NULL;
    char prefix[32];

    snprintf(prefix, sizeof prefix, "/.blockmig-%s-", job->id);
    return slash && !strncmp(slash, prefix, strlen(prefix));
}

/* All that it is paused for is room in overlays of ours; or was, before these
 * were merged. Fills path with such an image. */
static bool for_our_space(const struct bm_job *job, struct bm_domain *now,
                          const struct bm_io_pause *pause, char *path,
                          size_t size)
{
    for (size_t i = 0; i < pause->n; i++) {
        struct bm_disk *disk = bm_domain_disk(now, pause->faults[i].target);

        if (!pause->faults[i].no_space || !disk || !disk->chain.n ||
            !disk->chain.layers[0].path ||
            !(is_ours(job, disk) || job->guest.space_paused))
            return false;
        snprintf(path, size, "%s", disk->chain.layers[0].path);
    }
    return pause->n > 0;
}

static bool whose_pause(struct bm_run *run, const struct bm_io_pause *pause,
                        char *path, size_t size)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_domain *now = NULL;
    bool ours;

    if (bm_domain_open_uuid(run->conn, run->job->uuid, &now, &ignored))
        return false;
    ours = for_our_space(run->job, now, pause, path, size);
    bm_domain_free(now);
    return ours;
}

static int note_pause(struct bm_run *run, bool paused, const char *path,
                      struct bm_error *err)
{
    if (run->job->guest.space_paused == paused)
        return 0;
    run->job->guest.space_paused = paused;
    return paused ? bm_run_note(run, err,
                                "QEMU has paused the guest: no room left "
                                "for %s",
                                path)
                  : bm_run_note(run, err, "the guest runs again");
}

/* Twice is a sign too: of a quota, say, that the file system does not tell. */
static int make_space(struct bm_run *run, const char *path,
                      struct bm_error *err)
{
    uint64_t available;
    int rc = bm_space_available(path, &available);

    if (!rc && available >= BM_SOME_SPACE && run->watch.pauses++ == 0)
        return 0;
    if (!rc) {
        no_space(run->job, path, available, err);
        give_way(run, err);
        rc = bm_space_available(path, &available);
    }
    if (rc)
        return bm_fail_errno(err, -rc, "cannot look at the room of %s", path);
    return available < BM_SOME_SPACE ? bm_space_held(-ENOSPC, err) : 0;
}

static int resume(struct bm_run *run, const char *path, struct bm_error *err)
{
    int rc = note_pause(run, true, path, err);

    if (!rc)
        rc = make_space(run, path, err);
    if (!rc)
        rc = bm_domain_resume(run->domain, bm_call_ms(), err);
    return rc ? rc : note_pause(run, false, path, err);
}

int bm_space_let_run(struct bm_run *run, struct bm_error *err)
{
    struct bm_io_pause pause;
    char path[4096];
    int rc;

    if (!run->domain || !run->domain->active)
        return 0;
    rc = bm_domain_io_pause(run->domain, &pause, err);
    if (rc)
        return rc;
    if (!pause.paused)
        return note_pause(run, false, "", err);
    return whose_pause(run, &pause, path, sizeof path) ? resume(run, path, err)
                                                       : 0;
}

/* The side that is looked at. */
static int answers(const struct bm_job *job, struct bm_error *err)
{
    return bm_state_traits_of(job->state)->past_switch
               ? bm_liveness_new(job, err)
               : bm_liveness_old(job, err);
}

void bm_space_tick(struct bm_run *run)
{
    struct bm_error ignored = BM_ERROR_INIT;
    int64_t now = bm_now_ms();

    /* the pause of the switch is short, and a QEMU that hangs answers not */
    if (now - run->watch.looked_ms < LOOK_MS || run->job->guest.window_paused ||
        bm_calls_abandoned() > run->watch.abandoned)
        return;
    run->watch.looked_ms = now;
    if (answers(run->job, &ignored) != 0)
        return; /* what hangs is for the step to find */
    watch(run);
    (void)bm_space_let_run(run, &ignored);
}
