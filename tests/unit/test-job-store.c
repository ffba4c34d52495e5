// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The job store on SQLite: claims, durability, damage, and the run lock. */
#include "blockmig/job-store.h"

#include "nbd/cleanup.h"

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

static void set_up(void)
{
    strcpy(dir, "/tmp/bm-store-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static void tear_down(void)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(job_store, .init = set_up, .fini = tear_down);

static const char *in_dir(const char *name)
{
    static char paths[32][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 32];

    snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

static const char *make_file(const char *name)
{
    const char *path = in_dir(name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    cr_assert_geq(fd, 0);
    close(fd);
    return path;
}

static struct bm_job_store *open_store(void)
{
    struct bm_job_store *store = NULL;
    struct bm_error err = BM_ERROR_INIT;
    int rc = bm_job_store_open(in_dir("state"), false, &store, &err);

    cr_assert_eq(rc, 0, "%s: %s", err.what, err.cause);
    return store;
}

static struct bm_job *new_job(const char *uuid, const char *source,
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

static int claim(struct bm_job_store *store, struct bm_job *job,
                 struct bm_error *err)
{
    struct bm_error mine = BM_ERROR_INIT;

    return bm_job_store_claim(store, job, err ? err : &mine);
}

static int count_one(void *opaque, const struct bm_job *job)
{
    ++*(int *)opaque;
    return 0;
}

static int count_jobs(struct bm_job_store *store)
{
    int n = 0;

    cr_assert_eq(bm_job_store_list(store, count_one, &n, NULL), 0);
    return n;
}

/* --- what is kept ------------------------------------------------------- */

static int last_event(void *opaque, int64_t time_ms, const char *state,
                      const char *text)
{
    snprintf(opaque, 64, "%s %s", state, text);
    return 0;
}

Test(job_store, save_and_load)
{
    struct bm_job_store *store = open_store();
    struct bm_job *job = new_job("u1", "/s", "/d"), *back = NULL;
    char event[64] = "";

    cr_assert_eq(claim(store, job, NULL), 0);
    job->state = BM_STATE_COPYING;
    cr_assert_eq(bm_job_store_save(store, job, "begun", NULL), 0);
    cr_assert_eq(bm_job_store_load(store, job->id, &back, NULL), 0);
    cr_assert_eq(back->state, BM_STATE_COPYING);
    cr_assert_eq(back->updated_ms, job->updated_ms);
    cr_assert_eq(bm_job_store_events(store, job->id, last_event, event, NULL),
                 0);
    cr_assert_str_eq(event, "copying begun");
    bm_job_free(back);
    bm_job_free(job);
    bm_job_store_close(store);
}

Test(job_store, private_files)
{
    struct bm_job_store *store = open_store();
    struct stat st;

    cr_assert_eq(stat(in_dir("state"), &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0700);
    cr_assert_eq(stat(in_dir("state/jobs.sqlite"), &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
    bm_job_store_close(store);
}

Test(job_store, no_such_job)
{
    struct bm_job_store *store = open_store();
    struct bm_error err = BM_ERROR_INIT;
    struct bm_job *job = new_job("u1", "/s", "/d"), *back = NULL;

    cr_assert_eq(bm_job_store_load(store, "12345678", &back, &err), -ENOENT);
    cr_assert_eq(err.status, BM_EXIT_REFUSED);
    cr_assert_eq(bm_job_store_load(store, "x' OR '1", &back, &err), -ENOENT);
    cr_assert_eq(bm_job_store_save(store, job, "x", &err), -ENOENT);
    cr_assert_eq(bm_job_store_forget(store, "12345678", &err), -ENOENT);
    bm_job_free(job);
    bm_job_store_close(store);
}

/* --- claims ------------------------------------------------------------- */

/* A second job with these is refused, and the first named. */
static void refused(struct bm_job_store *store, const struct bm_job *first,
                    const char *uuid, const char *source, const char *dest)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_job *job = new_job(uuid, source, dest);
    int before = count_jobs(store);

    cr_assert_eq(claim(store, job, &err), -EBUSY, "%s %s", source, dest);
    cr_assert_eq(err.status, BM_EXIT_REFUSED);
    cr_assert_not_null(strstr(err.cause, first->id));
    cr_assert_not_null(strstr(err.cause, "has disk vda of u1 ("), "%s",
                       err.cause);
    cr_assert_not_null(strstr(err.cause, bm_state_name(first->state)));
    cr_assert_eq(count_jobs(store), before);
    bm_job_free(job);
}

Test(job_store, claims)
{
    struct bm_job_store *store = open_store();
    const char *source = make_file("source"), *link = in_dir("link");
    const char *folder = in_dir("folder");
    struct bm_job *job = new_job("u1", source, in_dir("dest"));
    struct bm_job *other = new_job("u2", "/other", "/elsewhere");
    char dotted[PATH_MAX];

    cr_assert_eq(claim(store, job, NULL), 0);
    refused(store, job, "u1", "/x", "/y");             /* the disk */
    refused(store, job, "u2", in_dir("source"), "/y"); /* the source */
    refused(store, job, "u2", "/x", in_dir("dest"));   /* the target */
    refused(store, job, "u2", in_dir("dest"), "/y");   /* crosswise */
    refused(store, job, "u2", "/x", in_dir("source"));
    cr_assert_eq(linkat(AT_FDCWD, in_dir("source"), AT_FDCWD, link, 0), 0);
    refused(store, job, "u2", in_dir("link"), "/y"); /* the same inode */
    cr_assert_eq(symlink(dir, folder), 0);
    refused(store, job, "u2", "/x", in_dir("folder/dest"));
    snprintf(dotted, sizeof dotted, "%s/./../%s/dest", dir, dir + 5);
    refused(store, job, "u2", "/x", dotted);
    cr_assert_eq(claim(store, other, NULL), 0);
    bm_job_free(job);
    bm_job_free(other);
    bm_job_store_close(store);
}

Test(job_store, claims_end_with_finish)
{
    struct bm_job_store *store = open_store();
    struct bm_job *job = new_job("u1", "/s", "/d");
    struct bm_job *next = new_job("u1", "/s", "/d");
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(claim(store, job, NULL), 0);
    cr_assert_eq(bm_job_store_finish(store, job, "x", &err), -EINVAL);
    cr_assert_eq(claim(store, next, NULL), -EBUSY);
    job->state = BM_STATE_DONE;
    cr_assert_eq(bm_job_store_finish(store, job, "done", &err), 0);
    cr_assert_gt(job->ended_ms, 0);
    cr_assert_eq(claim(store, next, NULL), 0);
    bm_job_free(job);
    bm_job_free(next);
    bm_job_store_close(store);
}

Test(job_store, forget)
{
    struct bm_job_store *store = open_store();
    struct bm_job *job = new_job("u1", "/s", "/d");
    struct bm_job *next = new_job("u1", "/s", "/d");
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(claim(store, job, NULL), 0);
    job->state = BM_STATE_HELD;
    cr_assert_eq(bm_job_store_save(store, job, NULL, NULL), 0);
    cr_assert_eq(bm_job_store_forget(store, job->id, &err), -EBUSY);
    job->state = BM_STATE_PREFLIGHT;
    cr_assert_eq(bm_job_store_save(store, job, NULL, NULL), 0);
    cr_assert_eq(bm_job_store_forget(store, job->id, &err), 0);
    cr_assert_eq(count_jobs(store), 0);
    cr_assert_eq(claim(store, next, NULL), 0);
    bm_job_free(job);
    bm_job_free(next);
    bm_job_store_close(store);
}

/* Two disks that share an image are the preflight's business, not ours. */
Test(job_store, own_keys_may_be_equal)
{
    struct bm_job_store *store = open_store();
    struct bm_job *job = new_job("u1", "/same", "/same");

    cr_assert_eq(claim(store, job, NULL), 0);
    bm_job_free(job);
    bm_job_store_close(store);
}

/* --- death -------------------------------------------------------------- */

/* Claims, saves, tells, and waits to be killed with a transaction open. */
static void writer(int ready, const char *id)
{
    struct bm_job_store *store = open_store();
    struct bm_job *job = new_job("u1", "/s", "/d");

    strcpy(job->id, id);
    if (claim(store, job, NULL) != 0)
        _exit(1);
    job->state = BM_STATE_SWITCHING;
    if (bm_job_store_save(store, job, "before the pivot", NULL) != 0 ||
        bm_job_run_lock(store, id, NULL) < 0 || write(ready, "x", 1) != 1)
        _exit(1);
    for (;;) /* keeps the write-ahead log hot until the kill */
        (void)bm_job_store_save(store, job, NULL, NULL);
}

static pid_t start_writer(const char *id)
{
    int fds[2];
    pid_t pid;
    char c;

    cr_assert_eq(pipe(fds), 0);
    pid = fork();
    if (pid == 0)
        writer(fds[1], id);
    close(fds[1]);
    cr_assert_eq(read(fds[0], &c, 1), 1);
    close(fds[0]);
    return pid;
}

Test(job_store, survives_kill)
{
    const char *id = "0badcafe";
    pid_t pid = start_writer(id);
    struct bm_job_store *store = open_store();
    struct bm_job *job = NULL;
    struct bm_error err = BM_ERROR_INIT;
    int fd;

    cr_assert(bm_job_running(store, id));
    cr_assert_eq(bm_job_run_lock(store, id, &err), -EBUSY);
    cr_assert_eq(err.status, BM_EXIT_REFUSED);
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert_not(bm_job_running(store, id));
    cr_assert_eq(bm_job_store_load(store, id, &job, &err), 0);
    cr_assert_eq(job->state, BM_STATE_SWITCHING);
    refused(store, job, "u1", "/x", "/y");
    fd = bm_job_run_lock(store, id, &err);
    cr_assert_geq(fd, 0);
    cr_assert(bm_job_running(store, id));
    bm_job_run_unlock(store, id, fd);
    cr_assert_eq(access(in_dir("state/0badcafe.lock"), F_OK), -1);
    bm_job_free(job);
    bm_job_store_close(store);
}

/* --- damage ------------------------------------------------------------- */

static char *read_all(const char *path, size_t *size)
{
    struct stat st;
    char *data;
    int fd = open(path, O_RDONLY);

    cr_assert_geq(fd, 0);
    cr_assert_eq(fstat(fd, &st), 0);
    *size = (size_t)st.st_size;
    data = malloc(*size + 1);
    cr_assert_eq(read(fd, data, *size), st.st_size);
    close(fd);
    return data;
}

static void filled_store(void)
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

static void change(const char *sql)
{
    sqlite3 *db = NULL;

    cr_assert_eq(sqlite3_open(in_dir("state/jobs.sqlite"), &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

Test(job_store, newer_schema)
{
    filled_store();
    change("PRAGMA user_version = 2");
    refuses("version 2");
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

/* --- two at once -------------------------------------------------------- */

/* All begin at the same moment, on a store that does not exist yet. */
Test(job_store, one_of_many_wins)
{
    int gate[2], won = 0;

    cr_assert_eq(pipe(gate), 0);
    for (int i = 0; i < 8; i++) {
        if (fork() == 0) {
            struct bm_job *job = new_job("u1", "/s", "/d");
            char c;

            close(gate[1]);
            (void)!read(gate[0], &c, 1);
            _exit(claim(open_store(), job, NULL) == 0 ? 42 : 0);
        }
    }
    close(gate[0]);
    close(gate[1]);
    for (int i = 0; i < 8; i++) {
        int status = 0;

        cr_assert_gt(wait(&status), 0);
        cr_assert(WIFEXITED(status));
        won += WEXITSTATUS(status) == 42;
    }
    cr_assert_eq(won, 1, "%d won", won);
}
