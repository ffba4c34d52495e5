// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A job store in a folder of its own, for the tests of the store.
 */
#ifndef TEST_JOB_FIXTURE_H
#define TEST_JOB_FIXTURE_H

#include "blockmig/job/job-store.h"
#include "nbd/base/cleanup.h"
#include "tests/unit/fork-fixture.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[64];

static inline void set_up(void)
{
    strcpy(dir, "/tmp/bm-store-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static inline int remove_one(const char *path, const struct stat *st, int type,
                             struct FTW *ftw)
{
    return remove(path);
}

static inline void tear_down(void)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(job_store, .init = set_up, .fini = tear_down);

static inline const char *in_dir(const char *name)
{
    static char paths[32][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 32];

    snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

static inline const char *make_file(const char *name)
{
    const char *path = in_dir(name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    cr_assert_geq(fd, 0);
    close(fd);
    return path;
}

static inline struct bm_job_store *open_store(void)
{
    struct bm_job_store *store = NULL;
    struct bm_error err = BM_ERROR_INIT;
    int rc = bm_job_store_open(in_dir("state"), false, &store, &err);

    cr_assert_eq(rc, 0, "%s: %s", err.what, err.cause);
    return store;
}

static inline struct bm_job *new_job(const char *uuid, const char *source,
                                     const char *dest)
{
    struct bm_job *job = bm_job_new();

    strcpy(job->uuid, uuid);
    job->domain = strdup(uuid);
    job->n_disks = 1;
    job->disks = calloc(1, sizeof *job->disks);
    job->disks[0].target = strdup("vda");
    bm_chain_append(&job->disks[0].source, BM_SOURCE_FILE, source, "raw");
    bm_chain_append(&job->disks[0].dest, BM_SOURCE_FILE, dest, "raw");
    return job;
}

static inline int claim(struct bm_job_store *store, struct bm_job *job,
                        struct bm_error *err)
{
    struct bm_error mine = BM_ERROR_INIT;

    return bm_job_store_claim(store, job, err ? err : &mine);
}

static inline int count_one(void *opaque, const struct bm_job *job)
{
    ++*(int *)opaque;
    return 0;
}

static inline int count_jobs(struct bm_job_store *store)
{
    int n = 0;

    cr_assert_eq(bm_job_store_list(store, count_one, &n, NULL), 0);
    return n;
}

/* 50 jobs, of domains u0 to u49. */
static inline void filled_store(void)
{
    struct bm_job_store *store = open_store();

    for (int i = 0; i < 50; i++) {
        char uuid[16], source[16], dest[16];
        struct bm_job *job;

        snprintf(uuid, sizeof uuid, "u%d", i);
        snprintf(source, sizeof source, "/s%d", i);
        snprintf(dest, sizeof dest, "/d%d", i);
        job = new_job(uuid, source, dest);
        cr_assert_eq(claim(store, job, NULL), 0);
        bm_job_free(job);
    }
    bm_job_store_close(store);
}

/* By somebody else. */
static inline void change(const char *sql)
{
    sqlite3 *db = NULL;

    cr_assert_eq(sqlite3_open(in_dir("state/jobs.sqlite"), &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static inline char *read_all(const char *path, size_t *size)
{
    struct stat st;
    char *data;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    cr_assert_geq(fd, 0);
    cr_assert_eq(fstat(fd, &st), 0);
    *size = (size_t)st.st_size;
    data = malloc(*size + 1);
    cr_assert_eq(read(fd, data, *size), st.st_size);
    close(fd);
    return data;
}

#endif
