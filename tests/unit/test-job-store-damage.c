// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/job-fixture.h"

/* --- damage ------------------------------------------------------------- */

/* It is refused both ways, with that cause, and not a byte changes. */
static void refuses(const char *cause)
{
    for (int readonly = 0; readonly < 2; readonly++) {
        const char *path = in_dir("state/jobs.sqlite");
        struct bm_job_store *store = NULL;
        struct bm_error err = BM_ERROR_INIT;
        size_t before, after;
        BM_FREE char *a = read_all(path, &before);
        BM_FREE char *b = NULL;
        int rc = bm_job_store_open(in_dir("state"), readonly, &store, &err);

        cr_assert_lt(rc, 0);
        cr_assert_null(store);
        cr_assert_not_null(strstr(err.what, "jobs.sqlite"));
        cr_assert_not_null(strstr(err.cause, cause), "%s", err.cause);
        cr_assert_neq(err.remedy[0], '\0');
        b = read_all(in_dir("state/jobs.sqlite"), &after);
        cr_assert_eq(before, after);
        cr_assert_eq(memcmp(a, b, after), 0);
    }
}

static void overwrite(off_t offset, size_t len)
{
    char junk[4096];
    int fd = open(in_dir("state/jobs.sqlite"), O_WRONLY);

    memset(junk, 0xa5, sizeof junk);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, junk, len, offset), (ssize_t)len);
    close(fd);
}

Test(job_store, damaged_header)
{
    filled_store();
    overwrite(0, 100);
    refuses("damaged");
}

Test(job_store, damaged_page)
{
    filled_store();
    overwrite(4096, 4096);
    refuses("damaged");
}

Test(job_store, truncated)
{
    filled_store();
    cr_assert_eq(truncate(in_dir("state/jobs.sqlite"), 8192), 0);
    refuses("damaged");
}

Test(job_store, foreign_database)
{
    cr_assert_eq(mkdir(in_dir("state"), 0700), 0);
    change("CREATE TABLE mine (x)");
    refuses("something else");
}

Test(job_store, broken_journal)
{
    struct bm_job_store *store;
    struct bm_error err = BM_ERROR_INIT;
    int n = 0;

    filled_store();
    change("UPDATE job SET journal = replace(journal, '\"proof\":', '\"x\":')"
           " WHERE domain = 'u7'");
    store = open_store();
    cr_assert_eq(bm_job_store_list(store, count_one, &n, &err), -EBADMSG);
    cr_assert_not_null(strstr(err.cause, "field proof is missing"));
    cr_assert_not_null(strstr(err.what, "jobs.sqlite"));
    bm_job_store_close(store);
}

/* --- reading only ------------------------------------------------------- */

static int entries(const char *path)
{
    DIR *d = opendir(path);
    int n = 0;

    cr_assert_not_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

Test(job_store, readonly_makes_nothing)
{
    struct bm_job_store *store = NULL;
    struct bm_error err = BM_ERROR_INIT;
    struct bm_job *job = NULL;

    cr_assert_eq(bm_job_store_open(in_dir("state"), true, &store, &err), 0);
    cr_assert_eq(count_jobs(store), 0);
    cr_assert_eq(bm_job_store_load(store, "12345678", &job, &err), -ENOENT);
    cr_assert_not(bm_job_running(store, "12345678"));
    bm_job_store_close(store);
    cr_assert_eq(entries(dir), 0);
    cr_assert_eq(mkdir(in_dir("state"), 0700), 0);
    cr_assert_eq(bm_job_store_open(in_dir("state"), true, &store, &err), 0);
    cr_assert_eq(count_jobs(store), 0);
    bm_job_store_close(store);
    cr_assert_eq(entries(in_dir("state")), 0);
}

Test(job_store, readonly_changes_nothing)
{
    struct bm_job_store *store = NULL;
    struct bm_job *job = new_job("u1", "/s", "/d");
    struct bm_error err = BM_ERROR_INIT;
    size_t before, after;
    BM_FREE char *a = NULL;
    BM_FREE char *b = NULL;

    filled_store();
    a = read_all(in_dir("state/jobs.sqlite"), &before);
    cr_assert_eq(bm_job_store_open(in_dir("state"), true, &store, &err), 0);
    cr_assert_eq(count_jobs(store), 50);
    cr_assert_eq(bm_job_store_claim(store, job, &err), -EROFS);
    bm_job_store_close(store);
    b = read_all(in_dir("state/jobs.sqlite"), &after);
    cr_assert_eq(before, after);
    cr_assert_eq(memcmp(a, b, after), 0);
    cr_assert_eq(entries(in_dir("state")), 1);
    bm_job_free(job);
}

Test(job_store, others_may_not_write_there)
{
    struct bm_job_store *store = NULL;
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(mkdir(in_dir("state"), 0700), 0);
    cr_assert_eq(chmod(in_dir("state"), 0777), 0);
    cr_assert_eq(bm_job_store_open(in_dir("state"), false, &store, &err),
                 -EPERM);
    cr_assert_not_null(strstr(err.cause, "0777"));
}
