// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/datastore/liveness.h"
#include "blockmig/step/orphan-private.h"
#include "blockmig/job/disk-location.h"
#include "nbd/image/image-lock.h"
#include "nbd/base/paths.h"
#include "nbd/base/units.h"
#include "blockmig/step/step.h"
#include "blockmig/image/overlay-image.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* How long a freeze that is still under way in libvirt, abandoned or the
 * guard's, may take to show in the XML once it has happened in QEMU. */
#define NOTE_MS 5000
#define LOOK_MS 100

int bm_orphan_without(const struct bm_run *run, const struct suspect *s,
                      struct bm_error *err)
{
    const char *target = run->job->disks[s->disk].target;
    bool runs = run->domain && run->domain->active;
    int rc = bm_job_needs_operator(run->job, err);

    if (s->look == LOOK_HOLDS)
        bm_cause(err,
                 "%s holds writes of the guest to disk %s, and its XML does "
                 "not name it: it was merged, or the guest was started or "
                 "changed without it",
                 s->path, target);
    else
        bm_cause(err, "disk %s cannot be put on %s again as the others can",
                 target, s->path);
    bm_remedy(err, runs ? "move it away; unless it was merged, keep it: what "
                          "it holds is missing in the guest"
                        : "if the guest was not started since, name it in the "
                          "XML as the disk's source; else move it away, and "
                          "keep it unless it was merged");
    return rc;
}

static int unknown(const struct bm_run *run, const struct suspect *s,
                   struct bm_error *err)
{
    char why[sizeof err->cause];
    int rc;

    snprintf(why, sizeof why, "%s", err->cause);
    rc = bm_job_needs_operator(run->job, err);
    bm_cause(err, "whether %s holds writes of the guest is not known: %s",
             s->path, why);
    bm_remedy(err, "see to it that it can be read, or, if it is not needed, "
                   "move it away");
    return rc;
}

/* As the domain was read: LOOK_NOTHING if no XML names it. */
static int look_at_xml(struct bm_run *run, struct suspect *s,
                       struct bm_error *err)
{
    struct bm_disk *disk = bm_run_disk(run, s->disk);
    struct bm_chain found = {0};
    const char *saved;
    int rc;

    s->look = LOOK_NOTHING;
    if (!disk)
        return 0;
    rc = bm_disk_location_chain(run->domain, disk, &found, err);
    if (!rc && bm_chain_names(&found, s->path)) {
        saved = run->domain->active && disk->inactive.n
                    ? disk->inactive.layers[0].path
                    : NULL;
        s->look =
            saved && !s->seen && bm_same_file(saved, s->below.layers[0].path)
                ? LOOK_UNSAVED
                : LOOK_NAMED;
    }
    bm_chain_clear(&found);
    return rc;
}

/* Whether QEMU has it open, and libvirt will not know of it either. Whether the
 * guest writes to it nobody can tell: libvirt may have died before QEMU's
 * transaction, and what it has asked for may still come. */
static int wait_for_note(struct bm_run *run, struct suspect *s,
                         struct bm_error *err)
{
    int64_t until = bm_now_ms() + NOTE_MS;
    bool open = false;
    int rc = 0;

    while (!rc && s->look == LOOK_NOTHING && run->domain &&
           run->domain->active) {
        rc = bm_image_written(s->path, &open, err);
        if (rc || !open)
            return rc;
        if (bm_now_ms() > until) {
            s->look = LOOK_OPEN;
            return 0;
        }
        bm_sleep_ms(LOOK_MS);
        rc = bm_run_refresh(run, err);
        if (!rc)
            rc = look_at_xml(run, s, err);
    }
    return rc;
}

static int written(struct bm_run *run, const char *path, struct bm_error *err)
{
    int rc = bm_job_needs_operator(run->job, err);

    bm_cause(err, "a guest has written to %s, which would have to go", path);
    bm_remedy(err,
              "`blockmig job resume %s`; to go back all the same, move that "
              "file away first",
              run->job->id);
    return rc;
}

int bm_orphan_unwritten(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        const char *path = run->job->disks[i].fixed.switch_overlay;
        bool any = false;
        struct stat st;

        if (!bm_target_is_ours(run->job, &run->job->disks[i], 0) ||
            (stat(path, &st) < 0 ? errno == ENOENT : st.st_size == 0))
            continue;
        rc = bm_overlay_holds_data(path, &any, err);
        if (!rc && any)
            rc = written(run, path, err);
    }
    return rc;
}

int bm_orphan_look(struct bm_run *run, struct suspect *s, struct bm_error *err)
{
    bool any = false;
    struct stat st;
    int rc = bm_store_is_alive(s->path, err);

    if (!rc)
        rc = look_at_xml(run, s, err);
    if (rc || s->look != LOOK_NOTHING || s->seen)
        return rc;
    if (stat(s->path, &st) < 0 ? errno == ENOENT : st.st_size == 0)
        return 0;
    rc = wait_for_note(run, s, err);
    if (rc || s->look != LOOK_NOTHING)
        return rc;
    rc = bm_overlay_holds_data(s->path, &any, err);
    s->look = any ? LOOK_HOLDS : LOOK_EMPTY;
    return rc ? unknown(run, s, err) : 0;
}
