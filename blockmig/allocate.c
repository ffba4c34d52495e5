// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/files.h"
#include "blockmig/point.h"
#include "blockmig/strategy.h"
#include "nbd/cleanup.h"
#include "snapshot/xml.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* The stamp: with it two state stores see each other, and a job is found
 * again when its store is lost. */
static char *stamp_text(struct bm_mover *m)
{
    BM_XMLDOC xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
    xmlNodePtr root = xmlNewDocNode(doc, NULL, BAD_CAST "job", NULL);

    xmlDocSetRootElement(doc, root);
    bm_xml_set(root, "id", m->job->id);
    bm_xml_set(root, "host", m->job->host);
    bm_xml_set(root, "store", bm_job_store_dir(m->store));
    return bm_xml_dump(root);
}

static int stamp(struct bm_mover *m, struct bm_error *err)
{
    BM_FREE char *text = stamp_text(m);

    if (!text)
        return bm_fail_errno(err, ENOMEM, "cannot stamp %s", m->job->domain);
    return bm_domain_stamp(m->domain, text, err);
}

bool bm_target_is_ours(const struct bm_job *job, const struct bm_job_disk *disk)
{
    const char *path = bm_job_image(disk)->path;
    struct stat st;

    if (disk->dest_ino)
        return bm_file_is(path, disk->dest_dev, disk->dest_ino);
    return disk->make_sent && lstat(path, &st) == 0 && S_ISREG(st.st_mode) &&
           st.st_size == 0 && st.st_uid == geteuid() &&
           (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000 >=
               job->created_ms;
}

int bm_target_check(const struct bm_job_disk *disk, struct bm_error *err)
{
    const char *path = bm_job_image(disk)->path;

    if (disk->dest_block || bm_file_is(path, disk->dest_dev, disk->dest_ino))
        return 0;
    bm_fail(err, ESTALE, "cannot go on with disk %s", disk->target);
    bm_cause(err,
             "%s is not the file any more that was made for it: someone "
             "moved or replaced it",
             path);
    bm_remedy(err, "put that file back");
    return bm_status(err, BM_EXIT_HELD), -ESTALE;
}

static int make_target(struct bm_mover *m, struct bm_job_disk *disk,
                       struct bm_error *err)
{
    const char *path = bm_job_image(disk)->path;
    int rc;

    if (disk->dest_block || bm_file_is(path, disk->dest_dev, disk->dest_ino))
        return 0;
    /* killed between making it and writing its identity down */
    if (bm_target_is_ours(m->job, disk)) {
        rc = bm_file_remove(path, err);
        if (rc)
            return rc;
    }
    disk->make_sent = true;
    rc = bm_mover_save(m, NULL, err);
    if (!rc)
        rc = bm_file_make(path, &disk->dest_dev, &disk->dest_ino, err);
    if (rc == -EEXIST)
        disk->make_sent = false; /* somebody else's */
    if (rc)
        return rc;
    bm_point("allocating.created");
    return bm_mover_save(m, NULL, err);
}

int bm_step_allocate(struct bm_mover *m, struct bm_error *err)
{
    int rc = bm_mover_refresh(m, err);

    if (!rc && !m->domain)
        return bm_fail_errno(err, ENOENT, "domain %s is gone", m->job->domain);
    if (!rc)
        rc = stamp(m, err);
    for (size_t i = 0; !rc && i < m->job->n_disks; i++)
        rc = make_target(m, &m->job->disks[i], err);
    return rc;
}
