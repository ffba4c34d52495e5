// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Opening the job store's database: all checks come before all writes. */
#include "blockmig/job/job-sqlite.h"

#include "blockmig/job/job-format.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define BUSY_MS 10000
#define APPLICATION_ID 0x626d6967 /* "bmig" */
#define STRING(x) #x
#define VALUE(x) STRING(x)

static const char schema[] =
    "CREATE TABLE job ("
    " id TEXT NOT NULL PRIMARY KEY,"
    " domain TEXT NOT NULL,"
    " state TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL,"
    " updated_ms INTEGER NOT NULL,"
    " journal TEXT NOT NULL);"
    "CREATE TABLE claim ("
    " key TEXT NOT NULL PRIMARY KEY,"
    " job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,"
    " disk TEXT NOT NULL);"
    "CREATE INDEX claim_job ON claim (job);"
    "CREATE TABLE event ("
    " job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,"
    " time_ms INTEGER NOT NULL,"
    " state TEXT NOT NULL,"
    " text TEXT NOT NULL);"
    "CREATE INDEX event_job ON event (job);"
    "PRAGMA application_id = " VALUE(
        APPLICATION_ID) ";"
                        "PRAGMA user_version = " VALUE(BM_JOB_FORMAT) ";";

static int quick_check(struct bm_sqlite *s, struct bm_error *err)
{
    BM_STMT sqlite3_stmt *stmt = NULL;
    const char *text;
    int rc = bm_sqlite_query(s, &stmt, err, "PRAGMA quick_check(1)", "");

    if (rc == 0)
        rc = bm_sqlite_step(s, stmt, err);
    if (rc < 0)
        return rc;
    text = rc == 1 ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (text && strcmp(text, "ok") == 0)
        return 0;
    return bm_sqlite_damaged(s, err, text ? text : "the check said nothing");
}

static int check_application(struct bm_sqlite *s, struct bm_error *err)
{
    int64_t application = 0;
    int rc = bm_sqlite_number(s, "SELECT * FROM pragma_application_id",
                              &application, err);

    if (rc < 0 || application == APPLICATION_ID)
        return rc;
    bm_fail(err, EPROTO, "cannot use the job store %s", s->path);
    bm_cause(err, "it is a database of something else");
    bm_remedy(err, "give another directory with --state PATH");
    return -EPROTO;
}

/* 1: ours, 0: an empty one, to be filled. */
static int check_schema(struct bm_sqlite *s, struct bm_error *err)
{
    int64_t tables = 0, format = 0;
    int rc =
        bm_sqlite_number(s, "SELECT count(*) FROM sqlite_master", &tables, err);

    if (rc == 0)
        rc = bm_sqlite_format(s, &format, err);
    if (rc < 0)
        return rc;
    if (tables == 0 && format == 0)
        return 0;
    rc = check_application(s, err);
    if (rc == 0)
        rc = bm_job_format_check(format, s->path, err);
    return rc < 0 ? rc : 1;
}

static int sync_dir(struct bm_sqlite *s, const char *dir, struct bm_error *err)
{
    BM_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return bm_fail_errno(err, errno, "cannot make the job store %s",
                             s->path);
    return 0;
}

/* Under the write lock: two that come first at once must not both fill. */
static int fill_locked(struct bm_sqlite *s, struct bm_error *err)
{
    int rc = check_schema(s, err);

    if (rc != 0)
        return rc < 0 ? rc : 0;
    if (sqlite3_exec(s->db, schema, NULL, NULL, NULL) != SQLITE_OK)
        return bm_sqlite_fail(s, err);
    return 0;
}

static int fill(struct bm_sqlite *s, struct bm_error *err)
{
    int rc = bm_sqlite_begin(s, err);

    return rc < 0 ? rc : bm_sqlite_end(s, fill_locked(s, err), err);
}

/* Where several open a new store at once SQLite does not wait for the other
 * here (its lock is upgraded, which could be a deadlock), but says busy. */
static int ask_for_wal(struct bm_sqlite *s, sqlite3_stmt **stmt,
                       struct bm_error *err)
{
    int64_t until = bm_now_ms() + BUSY_MS;
    int rc;

    for (;;) {
        rc = bm_sqlite_query(s, stmt, err, "PRAGMA journal_mode = WAL", "");
        if (rc == 0)
            rc = bm_sqlite_step(s, *stmt, err);
        if (rc != -EBUSY || bm_now_ms() >= until)
            return rc;
        sqlite3_finalize(*stmt);
        *stmt = NULL;
        bm_sleep_ms(10);
    }
}

/* WAL is kept in the file; the rest belongs to this handle. */
static int set_durable(struct bm_sqlite *s, struct bm_error *err)
{
    BM_STMT sqlite3_stmt *stmt = NULL;
    int rc = ask_for_wal(s, &stmt, err);

    if (rc < 0)
        return rc;
    if (strcmp((const char *)sqlite3_column_text(stmt, 0), "wal") != 0) {
        bm_fail(err, ENOTSUP, "cannot use the job store %s", s->path);
        bm_cause(err, "its file system cannot hold a write-ahead log");
        return bm_remedy(err, "give a local directory with --state PATH");
    }
    return bm_sqlite_run(s, err, "PRAGMA synchronous = FULL", "");
}

/* SQLite would make it readable for all; and only a file that is not there
 * may be made: closing a second descriptor of it would drop SQLite's locks. */
static int make_file(struct bm_sqlite *s, struct bm_error *err)
{
    int fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd >= 0)
        return close(fd) < 0
                   ? bm_fail_errno(err, errno, "cannot make the job store %s",
                                   s->path)
                   : 0;
    if (errno == EEXIST)
        return 0;
    bm_fail_errno(err, errno, "cannot make the job store %s", s->path);
    return bm_remedy(err, "give another directory with --state PATH");
}

static int open_handle(struct bm_sqlite *s, int flags, struct bm_error *err)
{
    if (sqlite3_open_v2(s->path, &s->db, flags, NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(s->db, BUSY_MS) != SQLITE_OK)
        return bm_sqlite_fail(s, err);
    sqlite3_extended_result_codes(s->db, 1);
    return 0;
}

/* Whatever is left of a write-ahead log stays where it is on close. */
static void leave_log(struct bm_sqlite *s)
{
    (void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

static int open_write(struct bm_sqlite *s, const char *dir,
                      struct bm_error *err)
{
    int rc = make_file(s, err);
    bool filled;

    if (rc == 0)
        rc = open_handle(s, SQLITE_OPEN_READWRITE, err);
    if (rc < 0)
        return rc;
    /* all checks come before the first thing that could write */
    rc = check_schema(s, err);
    filled = rc == 1;
    if (filled)
        rc = quick_check(s, err);
    if (rc < 0) {
        leave_log(s);
        return rc;
    }
    rc = set_durable(s, err);
    if (rc == 0)
        rc = bm_sqlite_run(s, err, "PRAGMA foreign_keys = ON", "");
    /* no lock for nothing: who writes without pause would not let us have it */
    if (rc == 0 && !filled)
        rc = fill(s, err);
    return rc < 0 ? rc : sync_dir(s, dir, err);
}

/*
 * A pure reader leaves the two files of the log behind that it had to make;
 * a writer that only queries removes them again. So be that where we may
 * write, and leave a log alone that was there before.
 */
static int open_read(struct bm_sqlite *s, struct bm_error *err)
{
    BM_FREE char *log = NULL;
    bool writable = access(s->path, W_OK) == 0;
    int rc;

    if (access(s->path, F_OK) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 0;
        return bm_fail_errno(err, errno, "cannot read the job store %s",
                             s->path);
    }
    if (asprintf(&log, "%s-wal", s->path) < 0)
        return bm_fail_errno(err, ENOMEM, "cannot read the job store");
    rc = open_handle(s, writable ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY,
                     err);
    if (rc < 0)
        return rc;
    if (access(log, F_OK) == 0)
        leave_log(s);
    rc = bm_sqlite_run(s, err, "PRAGMA query_only = ON", "");
    if (rc == 0)
        rc = check_schema(s, err);
    if (rc == 0)
        /* made this moment by somebody, and not filled yet: no jobs */
        sqlite3_close(BM_STEAL(s->db));
    return rc == 1 ? quick_check(s, err) : rc;
}

int bm_job_sqlite_open(const char *dir, bool readonly,
                       struct bm_job_store **out, struct bm_error *err)
{
    struct bm_sqlite *s = calloc(1, sizeof *s);
    int rc;

    if (!s || asprintf(&s->path, "%s/jobs.sqlite", dir) < 0) {
        free(s);
        return bm_fail_errno(err, ENOMEM, "cannot open the job store");
    }
    s->store.ops = &bm_job_sqlite_ops;
    rc = readonly ? open_read(s, err) : open_write(s, dir, err);
    if (rc < 0)
        bm_sqlite_close(&s->store);
    else
        *out = &s->store;
    return rc;
}
