// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What jobs of blockmig have left behind.
 */
#include "blockmig/doctor.h"
#include "blockmig/files.h"
#include "blockmig/users.h"
#include "nbd/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

/* --- the stamp --- */

static int on_job(void *opaque, const struct bm_job *job)
{
    const struct bm_doctor *d = opaque;

    if (strcmp(job->uuid, d->domain->uuid) != 0 || bm_state_final(job->state))
        return 0;
    return bm_doctor_found((struct bm_doctor *)d, false, "job", "",
                           bm_job_running(d->jobs, job->id)
                               ? "wait for its end"
                               : "'blockmig job resume' it",
                           "job %s of it (%s) is not finished", job->id,
                           bm_state_name(job->state));
}

static int check_stamp(struct bm_doctor *d, size_t before)
{
    if (!d->domain->stamp || d->found > before)
        return 0;
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

/* Ended by what the store says; a job that it does not know may be of
 * another. */
static bool has_ended(struct bm_doctor *d, const char *id)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_job *job = NULL;
    bool ended = bm_job_store_load(d->jobs, id, &job, &ignored) == 0 &&
                 bm_state_final(job->state);

    bm_job_free(job);
    return ended;
}

/* A merge that was undone leaves a front as a layer of the disk. */
static bool is_layer(const struct bm_doctor *d, const char *path)
{
    int i = bm_kin_index(d->kin, path);

    return i >= 0 && !d->kin->list[i].other;
}

static int check_file(struct bm_doctor *d, const char *folder, const char *name)
{
    struct bm_error why = BM_ERROR_INIT;
    BM_FREE char *path = NULL;
    char id[BM_JOB_ID_LEN];

    if (!job_of(name, id))
        return 0;
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    if (!has_ended(d, id))
        return bm_doctor_found(d, false, "left", "",
                               "'blockmig job list' with the state directory "
                               "of that job",
                               "%s belongs to job %s, which has not ended or "
                               "is not known here",
                               path, id);
    if (is_layer(d, path))
        return 0;
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
        const char *path = d->kin->list[k].layer.path;

        if (path && !strncmp(path, folder, len) && path[len] == '/' &&
            !strchr(path + len + 1, '/'))
            return true;
    }
    return false;
}

int bm_doctor_left(struct bm_doctor *d, struct bm_error *err)
{
    size_t before = d->found;
    int rc = bm_job_store_list(d->jobs, on_job, d, err);

    if (!rc)
        rc = check_stamp(d, before);
    for (size_t i = 0; !rc && i < d->kin->n; i++) {
        const struct bm_layer *layer = &d->kin->list[i].layer;
        BM_FREE char *folder = layer->type == BM_SOURCE_FILE && layer->path
                                   ? bm_file_folder(layer->path)
                                   : NULL;

        if (folder && !was_seen(d, i, folder))
            rc = look_into(d, folder);
    }
    return rc;
}
