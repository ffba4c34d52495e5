// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/lost.h"

#include "blockmig/answers.h"
#include "blockmig/mark.h"
#include "blockmig/situation.h"
#include "blockmig/strategy.h"
#include "blockmig/view.h"
#include "nbd/cleanup.h"
#include "nbd/digest.h"
#include "nbd/imagelock.h"
#include "nbd/units.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* How long a freeze that is still under way in libvirt, abandoned or the
 * guard's, may take to show in the XML once it has happened in QEMU. */
#define NOTE_MS 5000
#define LOOK_MS 100

struct suspect {
    size_t disk;
    const char *path;
    const struct bm_chain *below; /* what it was put on */
    bool new_side;
};

/* --- what becomes of it --- */

static int stuck(const struct bm_mover *m, struct bm_error *err)
{
    bm_fail(err, BM_STUCK, "cannot go on with the move of %s", m->job->domain);
    return bm_status(err, BM_EXIT_HELD), -BM_STUCK;
}

static int held_open(const struct bm_mover *m, const struct suspect *s,
                     struct bm_error *err)
{
    int rc = stuck(m, err);

    bm_cause(err,
             "QEMU has %s open, of which libvirt does not know: it died while "
             "it put that on disk %s",
             s->path, m->job->disks[s->disk].target);
    bm_remedy(err,
              "shut the guest off, and before it is started again `blockmig "
              "job resume %s`: else it may start without its last writes",
              m->job->id);
    return rc;
}

static int without(const struct bm_mover *m, const struct suspect *s,
                   struct bm_error *err)
{
    int rc = stuck(m, err);

    bm_cause(err,
             "%s holds what the guest wrote last to disk %s, and the guest "
             "was started, or changed, without it",
             s->path, m->job->disks[s->disk].target);
    bm_remedy(err, "shut the guest off, and name that image in its XML as the "
                   "disk's source, or move it away to do without it");
    return rc;
}

static int unknown(const struct bm_mover *m, const struct suspect *s,
                   struct bm_error *err)
{
    char why[sizeof err->cause];
    int rc;

    snprintf(why, sizeof why, "%s", err->cause);
    rc = stuck(m, err);
    bm_cause(err, "whether %s holds what the guest wrote last is not known: %s",
             s->path, why);
    return rc;
}

/* The instant of the freeze was the window's, or the proof will tell. */
static int window_ended(struct bm_mover *m, struct bm_error *err)
{
    m->job->unclean = false;
    m->job->doubt = true;
    bm_mark_forget(bm_job_store_dir(m->store), m->job->id);
    return bm_mover_save(m, NULL, err);
}

static int give_back(struct bm_mover *m, const struct suspect *s,
                     struct bm_error *err)
{
    const char *target = m->job->disks[s->disk].target;
    struct bm_chain wanted = {0};
    int rc = bm_mover_note(m, err,
                           "disk %s: libvirt did not know of %s, which the "
                           "guest wrote to; its XML names it now",
                           target, s->path);

    if (!rc && bm_chain_on_top(s->path, s->below, &wanted) < 0)
        rc = bm_fail_errno(err, ENOMEM, "cannot go on");
    if (!rc)
        rc = bm_domain_set_config(m->domain, target, &wanted, err);
    bm_chain_clear(&wanted);
    if (!rc)
        rc = bm_mover_refresh(m, err);
    return !rc && s->new_side ? window_ended(m, err) : rc;
}

/* --- what it is --- */

static bool is_named(const struct bm_mover *m, const struct suspect *s)
{
    return m->domain && bm_domain_names(m->domain, s->path);
}

/* Whether QEMU has it open, and libvirt will not know of it either. Whether the
 * guest writes to it nobody can tell: libvirt may have died before QEMU's
 * transaction, and what it has asked for may still come. */
static int wait_for_note(struct bm_mover *m, const struct suspect *s,
                         bool *lost, struct bm_error *err)
{
    int64_t until = bm_now_ms() + NOTE_MS;
    int rc;

    for (;;) {
        *lost = false;
        if (!m->domain || !m->domain->active || is_named(m, s))
            return 0;
        rc = bm_image_written(s->path, lost, err);
        if (rc || !*lost || bm_now_ms() > until)
            return rc;
        bm_sleep_ms(LOOK_MS);
        rc = bm_mover_refresh(m, err);
        if (rc)
            return rc;
    }
}

/* Anything of the guest's: its tables are made beforehand. */
static int holds_any(const struct suspect *s, bool *any, struct bm_error *err)
{
    struct bm_bitmap *dirty = NULL;
    struct bm_chain alone = {0};
    struct bm_view view = {0};
    int rc = bm_chain_append(&alone, BM_SOURCE_FILE, s->path, "qcow2");

    rc = rc ? bm_fail_errno(err, -rc, "cannot look at %s", s->path)
            : bm_view_open(&alone, 1, &view, err);
    if (!rc && !(dirty = bm_bitmap_new(view.device->size, BM_DIGEST_BLOCK)))
        rc = bm_fail_errno(err, ENOMEM, "cannot look at %s", s->path);
    if (!rc)
        rc = bm_view_dirty(&view, dirty, err);
    *any = !rc && bm_bitmap_count(dirty) > 0;
    bm_bitmap_free(dirty);
    bm_view_close(&view);
    bm_chain_clear(&alone);
    return rc;
}

/* As far as the clock of their store tells. */
static bool written_last(const char *path, const char *below)
{
    struct stat it, other;

    if (stat(path, &it) < 0 || stat(below, &other) < 0 ||
        it.st_dev != other.st_dev || !S_ISREG(other.st_mode))
        return false;
    return it.st_mtim.tv_sec != other.st_mtim.tv_sec
               ? it.st_mtim.tv_sec > other.st_mtim.tv_sec
               : it.st_mtim.tv_nsec >= other.st_mtim.tv_nsec;
}

/* The guest went off, and nobody has written below it since. */
static int can_give_back(struct bm_mover *m, const struct suspect *s, bool *can,
                         struct bm_error *err)
{
    struct bm_disk *disk = bm_mover_disk(m, s->disk);
    struct bm_chain found = {0};
    int rc;

    *can = false;
    if (!disk || m->domain->active)
        return 0;
    rc = bm_situation_chain(m->domain, disk, &found, err);
    if (rc)
        return rc;
    *can = bm_chain_equal(&found, s->below) &&
           written_last(s->path, s->below->layers[0].path);
    bm_chain_clear(&found);
    return 0;
}

static int check_one(struct bm_mover *m, const struct suspect *s,
                     struct bm_error *err)
{
    bool lost = false, any = false, can = false;
    struct stat st;
    int rc = bm_answers(s->path, err);

    if (rc || is_named(m, s))
        return rc;
    if (stat(s->path, &st) < 0 ? errno == ENOENT : st.st_size == 0)
        return 0;
    rc = wait_for_note(m, s, &lost, err);
    if (rc || lost || is_named(m, s))
        return lost ? held_open(m, s, err) : rc;
    rc = holds_any(s, &any, err);
    if (rc)
        return unknown(m, s, err);
    if (!any)
        return 0;
    rc = m->domain ? can_give_back(m, s, &can, err) : 0;
    if (rc)
        return rc;
    return can ? give_back(m, s, err) : without(m, s, err);
}

/* --- those that may be one --- */

static int check_front(struct bm_mover *m, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &m->job->disks[i];
    BM_FREE char *front = bm_job_front(m->job, plan, m->job->fronts_asked);
    const struct suspect s = {.disk = i, .path = front, .below = &plan->source};

    return front ? check_one(m, &s, err)
                 : bm_fail_errno(err, ENOMEM, "cannot go on");
}

static int check_new(struct bm_mover *m, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &m->job->disks[i];
    bool pulls = m->job->strategy == BM_STRATEGY_PULL;
    const struct suspect s = {.disk = i,
                              .path = bm_job_new_top(m->job, plan),
                              .below = pulls ? &plan->source : &plan->dest,
                              .new_side = !pulls};

    return check_one(m, &s, err);
}

int bm_lost_check(struct bm_mover *m, struct bm_error *err)
{
    const struct bm_job *job = m->job;
    int rc = 0;

    for (size_t i = 0; !rc && i < job->n_disks; i++) {
        bool front = job->fronts_asked > job->disks[i].front_seen;
        bool top = job->top_asked && !job->disks[i].top_seen;

        if (front || top)
            rc = bm_mover_refresh(m, err);
        if (!rc && front)
            rc = check_front(m, i, err);
        if (!rc && top)
            rc = check_new(m, i, err);
    }
    return rc;
}
