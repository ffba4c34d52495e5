// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job-store-ops.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

static char *join(const char *a, const char *b)
{
    char *out = NULL;

    return asprintf(&out, "%s%s", a, b) < 0 ? NULL : out;
}

/* As the XDG specification says: a relative path there counts as unset. */
char *bm_state_dir_default(void)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    const struct passwd *user;

    if (geteuid() == 0)
        return strdup("/var/lib/blockmig");
    if (state && state[0] == '/')
        return join(state, "/blockmig");
    if (!home || home[0] != '/') {
        user = getpwuid(geteuid());
        home = user ? user->pw_dir : "/";
    }
    return join(home, "/.local/state/blockmig");
}

/* A new entry of a folder is durable when the folder is. */
static int sync_parent(const char *path)
{
    BM_FREE char *copy = strdup(path);
    BM_CLOSE int fd = -1;

    if (!copy)
        return -ENOMEM;
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* One folder; that someone else made it first is as good. */
static int make_one(const char *path)
{
    if (mkdir(path, 0700) == 0)
        return sync_parent(path);
    return errno == EEXIST ? 0 : -errno;
}

static int make_dirs(const char *dir)
{
    BM_FREE char *path = strdup(dir);
    int rc = 0;

    if (!path)
        return -ENOMEM;
    for (char *p = path + 1; *p && rc == 0; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        /* what is there already may be in a folder we cannot write */
        if (access(path, F_OK) != 0)
            rc = make_one(path);
        *p = '/';
    }
    return rc < 0 ? rc : make_one(path);
}

static int fail_dir(struct bm_error *err, const char *dir, int code)
{
    bm_fail_errno(err, code, "cannot use state directory %s", dir);
    bm_remedy(err, "give another one with --state PATH");
    return -code;
}

/* Others may not put a journal there: it names files that we delete. */
static int check_owner(const char *dir, struct bm_error *err)
{
    struct stat st;

    if (stat(dir, &st) < 0)
        return fail_dir(err, dir, errno);
    if (!S_ISDIR(st.st_mode))
        return fail_dir(err, dir, ENOTDIR);
    if (geteuid() != 0 && st.st_uid != geteuid())
        return fail_dir(err, dir, EPERM);
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return 0;
    bm_fail(err, EPERM, "cannot use state directory %s", dir);
    bm_cause(err, "others may write in it (mode %04o)", st.st_mode & 07777);
    bm_remedy(err, "chmod go-w it, or give another one with --state PATH");
    return -EPERM;
}

static int prepare_dir(const char *dir, bool readonly, char **out,
                       struct bm_error *err)
{
    int rc = 0;

    if (!readonly)
        rc = make_dirs(dir);
    if (rc < 0)
        return fail_dir(err, dir, -rc);
    *out = realpath(dir, NULL);
    if (*out)
        return check_owner(*out, err);
    if (!readonly || errno != ENOENT)
        return fail_dir(err, dir, errno);
    *out = strdup(dir);
    return *out ? 0 : bm_fail_errno(err, ENOMEM, "cannot open the job store");
}

int bm_state_dir_make(const char *dir, struct bm_error *err)
{
    BM_FREE char *real = NULL;

    return prepare_dir(dir, false, &real, err);
}

int bm_job_store_open(const char *dir, bool readonly, struct bm_job_store **out,
                      struct bm_error *err)
{
    BM_FREE char *real = NULL;
    struct bm_job_store *store;
    int rc = prepare_dir(dir, readonly, &real, err);

    if (rc < 0)
        return rc;
    rc = bm_job_sqlite_open(real, readonly, &store, err);
    if (rc < 0)
        return rc;
    store->dir = BM_STEAL(real);
    store->readonly = readonly;
    rc = readonly ? 0 : store->ops->upgrade(store, err);
    if (rc < 0)
        bm_job_store_close(store);
    else
        *out = store;
    return rc;
}

void bm_job_store_close(struct bm_job_store *store)
{
    char *dir;

    if (!store)
        return;
    dir = store->dir;
    store->ops->close(store);
    free(dir);
}

const char *bm_job_store_dir(const struct bm_job_store *store)
{
    return store->dir;
}

static int no_write(const struct bm_job_store *store, struct bm_error *err)
{
    if (!store->readonly)
        return 0;
    return bm_fail_errno(err, EROFS, "cannot write the job store in %s",
                         store->dir);
}

int bm_job_store_claim(struct bm_job_store *store, struct bm_job *job,
                       struct bm_error *err)
{
    int rc = no_write(store, err);

    return rc < 0 ? rc : store->ops->claim(store, job, err);
}

int bm_job_store_save(struct bm_job_store *store, struct bm_job *job,
                      const char *event, struct bm_error *err)
{
    int rc = no_write(store, err);

    return rc < 0 ? rc : store->ops->save(store, job, event, false, err);
}

int bm_job_store_finish(struct bm_job_store *store, struct bm_job *job,
                        const char *event, struct bm_error *err)
{
    int rc = no_write(store, err);

    if (rc < 0)
        return rc;
    if (!bm_state_final(job->state)) {
        bm_fail(err, EINVAL, "cannot finish job %s", job->id);
        bm_cause(err, "its state, %s, is not final", bm_state_name(job->state));
        return -EINVAL;
    }
    if (!job->result.ended_ms)
        job->result.ended_ms = bm_wall_ms();
    return store->ops->save(store, job, event, true, err);
}

int bm_job_store_forget(struct bm_job_store *store, const char *id,
                        struct bm_error *err)
{
    int rc = no_write(store, err);

    return rc < 0 ? rc : store->ops->forget(store, id, err);
}

int bm_job_store_load(struct bm_job_store *store, const char *id,
                      struct bm_job **out, struct bm_error *err)
{
    return store->ops->load(store, id, out, err);
}

int bm_job_store_list(struct bm_job_store *store, bm_job_each fn, void *opaque,
                      struct bm_error *err)
{
    return store->ops->list(store, fn, opaque, err);
}

int bm_job_store_events(struct bm_job_store *store, const char *id,
                        bm_job_event_each fn, void *opaque,
                        struct bm_error *err)
{
    return store->ops->events(store, id, fn, opaque, err);
}
