// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What jobs of blockmig have left behind.
 */
#include "blockmig/doctor/doctor.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/image/image-in-use.h"
#include "nbd/base/cleanup.h"
#include "snapshot/tree/image-tree-index.h"
#include "blockmig/image/overlay-image.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

/* --- the stamp --- */

static bool is_live_view(const struct bm_job *job)
{
    return bm_strategy_traits_of(job->plan.strategy)->ends_with_process &&
           job->state == BM_STATE_SETTLED;
}

struct jobs {
    struct bm_doctor *doctor;
    size_t unfinished;
    bool stamp_ended; /* the stamp is that of one that has ended */
};

static int on_job(void *opaque, const struct bm_job *job)
{
    struct jobs *jobs = opaque;
    struct bm_doctor *d = jobs->doctor;
    bool runs;

    if (strcmp(job->uuid, d->domain->uuid) != 0)
        return 0;
    if (bm_state_final(job->state)) {
        jobs->stamp_ended |=
            d->domain->stamp && strstr(d->domain->stamp, job->id);
        return 0;
    }
    jobs->unfinished++;
    runs = bm_job_running(d->jobs, job->id);
    if (runs && is_live_view(job))
        return 0;
    return bm_doctor_found(d, false, "job", "",
                           runs ? "wait for its end"
                                : "'blockmig job resume' it",
                           "job %s of it (%s) is not finished", job->id,
                           bm_state_name(job->state));
}

/* A guest that was saved while the job ran has brought it back. */
static int end_stamp(struct bm_doctor *d)
{
    struct bm_error why = BM_ERROR_INIT;

    if (d->fix && bm_domain_stamp(d->domain, NULL, &why) == 0)
        return bm_doctor_found(d, true, "stamp", "", NULL,
                               "the stamp of a job that has ended is taken off "
                               "the domain");
    return bm_doctor_found(
        d, false, "stamp", "", "--fix takes it off",
        "the domain bears the stamp of a job that has ended");
}

static int check_stamp(struct bm_doctor *d, bool ended)
{
    if (!d->domain->stamp)
        return 0;
    if (ended)
        return end_stamp(d);
    return bm_doctor_found(d, false, "stamp", "",
                           "resume that job with its own --state; if it is "
                           "lost: virsh metadata DOMAIN --uri " BM_STAMP_URI
                           " --remove",
                           "the domain bears the stamp of a job that this "
                           "state directory does not know as unfinished: %s",
                           d->domain->stamp);
}

/* --- files --- */

#define PREFIX ".blockmig-"

/* The job that such a file's name bears; false: it bears none. */
static bool job_of(const char *name, char id[BM_JOB_ID_LEN])
{
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 ||
        strlen(name) < strlen(PREFIX) + BM_JOB_ID_LEN)
        return false;
    snprintf(id, BM_JOB_ID_LEN, "%s", name + strlen(PREFIX));
    return bm_job_id_valid(id);
}

/* By what the store says; a job that it does not know may be of another. */
enum owner { ENDED, RUNNING, UNFINISHED, UNKNOWN };

static enum owner owner_of(struct bm_doctor *d, const char *id)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_job *job = NULL;
    bool known = bm_job_store_load(d->jobs, id, &job, &ignored) == 0;
    bool ended = known && bm_state_final(job->state);

    bm_job_free(job);
    if (!known || ended)
        return known ? ENDED : UNKNOWN;
    return bm_job_running(d->jobs, id) ? RUNNING : UNFINISHED;
}

bool bm_doctor_of_job(struct bm_doctor *d, const char *path)
{
    const char *name = strrchr(path, '/');
    char id[BM_JOB_ID_LEN];

    return job_of(name ? name + 1 : path, id) && owner_of(d, id) != ENDED;
}

static int others(struct bm_doctor *d, enum owner owner, const char *path,
                  const char *id)
{
    if (owner == RUNNING)
        return 0;
    return bm_doctor_found(
        d, false, "left", "",
        owner == UNFINISHED ? "'blockmig job resume' that job"
                            : "'blockmig job list' with the state directory "
                              "of that job",
        "%s belongs to job %s, which %s", path, id,
        owner == UNFINISHED ? "has not ended" : "is not known here");
}

/* A merge that was undone leaves a source overlay as a layer of the disk. */
static bool is_layer(const struct bm_doctor *d, const char *path)
{
    int i = bm_tree_index(d->tree, path);

    return i >= 0 && !d->tree->list[i].other;
}

/* An overlay does that a guest has written to. What a view has saved nobody
 * needs after it. */
static bool holds_data(const char *path)
{
    struct bm_error ignored = BM_ERROR_INIT;
    const char *scratch = strstr(path, "-scratch.qcow2");
    size_t len = strlen(path);
    bool any = true;

    if (scratch || len < 6 || strcmp(path + len - 6, ".qcow2") != 0)
        return false;
    return bm_overlay_holds_data(path, &any, &ignored) != 0 || any;
}

static int check_file(struct bm_doctor *d, const char *folder, const char *name)
{
    struct bm_error why = BM_ERROR_INIT;
    BM_FREE char *path = NULL;
    char id[BM_JOB_ID_LEN];
    enum owner owner;

    if (!job_of(name, id))
        return 0;
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    owner = owner_of(d, id);
    if (owner != ENDED)
        return others(d, owner, path, id);
    if (is_layer(d, path))
        return 0;
    if (holds_data(path))
        return bm_doctor_found(d, false, "left", "",
                               "look into it: it may be what a guest wrote "
                               "last",
                               "%s was left by job %s, which has ended, and "
                               "holds data",
                               path, id);
    if (d->fix && bm_users_none(d->conn, NULL, path, &why) == 0 &&
        bm_file_remove(path, &why) == 0)
        return bm_doctor_found(d, true, "left", "", NULL,
                               "%s, which the ended job %s has left, is "
                               "deleted",
                               path, id);
    return bm_doctor_found(d, false, "left", "",
                           "--fix deletes it when nobody uses it",
                           "%s was left by job %s, which has ended", path, id);
}

static int look_into(struct bm_doctor *d, const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    int rc = 0;

    while (dir && !rc && (entry = readdir(dir)))
        rc = check_file(d, folder, entry->d_name);
    if (dir)
        (void)closedir(dir);
    return rc;
}

/* Whether an image before this one stands in that folder. */
static bool was_seen(const struct bm_doctor *d, size_t i, const char *folder)
{
    size_t len = strlen(folder);

    for (size_t k = 0; k < i; k++) {
        const char *path = d->tree->list[k].layer.path;

        if (path && !strncmp(path, folder, len) && path[len] == '/' &&
            !strchr(path + len + 1, '/'))
            return true;
    }
    return false;
}

int bm_doctor_left(struct bm_doctor *d, struct bm_error *err)
{
    struct jobs jobs = {.doctor = d};
    int rc = bm_job_store_list(d->jobs, on_job, &jobs, err);

    if (!rc && jobs.unfinished == 0)
        rc = check_stamp(d, jobs.stamp_ended);
    for (size_t i = 0; !rc && i < d->tree->n; i++) {
        const struct bm_layer *layer = &d->tree->list[i].layer;
        BM_FREE char *folder = layer->type == BM_SOURCE_FILE && layer->path
                                   ? bm_file_folder(layer->path)
                                   : NULL;

        if (folder && !was_seen(d, i, folder))
            rc = look_into(d, folder);
    }
    return rc;
}
