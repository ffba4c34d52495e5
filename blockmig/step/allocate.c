// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/owned-file.h"
#include "blockmig/job/failpoint.h"
#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/xml.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/job/job-store.h"
#include "blockmig/run/context.h"
#include "blockmig/run/run.h"
#include "blockmig/step/step.h"
#include "snapshot/domain/domain.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static char *stamp_text(struct bm_run *run)
{
    BM_XMLDOC xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
    xmlNodePtr root = xmlNewDocNode(doc, NULL, BAD_CAST "job", NULL);

    xmlDocSetRootElement(doc, root);
    bm_xml_set(root, "id", run->job->id);
    bm_xml_set(root, "host", run->job->host);
    bm_xml_set(root, "store", bm_job_store_dir(run->jobs));
    return bm_xml_dump(root);
}

int bm_step_stamp(struct bm_run *run, struct bm_error *err)
{
    BM_FREE char *text = stamp_text(run);

    if (!text)
        return bm_fail_errno(err, ENOMEM, "cannot stamp %s", run->job->domain);
    return bm_domain_stamp(run->domain, text, err);
}

/* A file of ours, as the journal knows it. */
struct made {
    const char *path;
    uint64_t *dev, *ino;
    bool *sent;
};

static struct made made_for(struct bm_job_disk *disk, size_t layer)
{
    struct made made = {bm_job_new_image(disk)[layer].path, &disk->image.dev,
                        &disk->image.ino, &disk->image.make_sent};

    if (layer) {
        struct bm_job_layer *lower = &disk->lower[layer - 1];

        made.dev = &lower->dest_dev;
        made.ino = &lower->dest_ino;
        made.sent = &lower->make_sent;
    }
    return made;
}

static bool is_ours(const struct bm_job *job, const struct made *made)
{
    struct stat st;

    if (*made->ino)
        return bm_file_is(made->path, *made->dev, *made->ino);
    return *made->sent && lstat(made->path, &st) == 0 && S_ISREG(st.st_mode) &&
           st.st_size == 0 && st.st_uid == geteuid() &&
           (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000 >=
               job->created_ms;
}

bool bm_target_is_ours(const struct bm_job *job, const struct bm_job_disk *disk,
                       size_t layer)
{
    struct made made = made_for((struct bm_job_disk *)disk, layer);

    return is_ours(job, &made);
}

static int not_ours_any_more(const struct bm_job_disk *disk, const char *path,
                             struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot go on with disk %s", disk->target);
    bm_cause(err,
             "%s is not the file any more that was made for it: someone "
             "moved or replaced it",
             path);
    bm_remedy(err, "put that file back");
    return bm_status(err, BM_EXIT_HELD), -ESTALE;
}

int bm_target_check(const struct bm_job_disk *disk, struct bm_error *err)
{
    for (size_t k = disk->fixed.dest_block; k <= disk->n_lower; k++) {
        struct made made = made_for((struct bm_job_disk *)disk, k);
        int rc = bm_file_look(made.path, err);

        if (rc)
            return rc;
        if (!bm_file_is(made.path, *made.dev, *made.ino))
            return not_ours_any_more(disk, made.path, err);
    }
    return 0;
}

static int make_target(struct bm_run *run, const struct made *made,
                       struct bm_error *err)
{
    int rc;

    if (bm_file_is(made->path, *made->dev, *made->ino))
        return 0;
    /* killed between making it and writing its identity down */
    if (is_ours(run->job, made)) {
        rc = bm_file_remove(made->path, err);
        if (rc)
            return rc;
    }
    *made->sent = true;
    rc = bm_run_save(run, NULL, err);
    if (!rc)
        rc = bm_file_make(made->path, made->dev, made->ino, err);
    if (rc == -EEXIST)
        *made->sent = false; /* somebody else's */
    if (rc)
        return rc;
    bm_failpoint("allocating.created");
    return bm_run_save(run, NULL, err);
}

static int make_targets(struct bm_run *run, struct bm_job_disk *disk,
                        struct bm_error *err)
{
    int rc = 0;

    for (size_t k = disk->fixed.dest_block; !rc && k <= disk->n_lower; k++) {
        struct made made = made_for(disk, k);

        rc = make_target(run, &made, err);
    }
    return rc;
}

int bm_step_allocate(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(run, err);

    if (!rc)
        rc = bm_step_stamp(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = make_targets(run, &run->job->disks[i], err);
    return rc;
}
