// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A job store of an older format becomes one of ours: all of it in one
 * transaction, or nothing.
 */
#include "blockmig/job/job-sqlite.h"

#include "blockmig/job/job-format.h"
#include "nbd/base/cleanup.h"

#include <errno.h>
#include <stdio.h>

/* Adds which one it is, and what to do. */
static int damaged(struct bm_sqlite *s, const char *id, struct bm_error *err)
{
    if (err)
        snprintf(err->what, sizeof err->what,
                 "cannot upgrade the journal of job %s in %s", id, s->path);
    bm_remedy(err, "nothing was changed; restore the file from a backup, or "
                   "use the blockmig that wrote it");
    return -EBADMSG;
}

/* It would go on writing in its own format. */
static int running(struct bm_sqlite *s, const char *id, struct bm_error *err)
{
    bm_fail(err, EBUSY, "cannot upgrade the job store %s", s->path);
    bm_cause(err, "an older blockmig runs job %s", id);
    bm_remedy(err,
              "nothing was changed; wait until it has ended ('blockmig job "
              "watch %s')",
              id);
    return bm_status(err, BM_EXIT_REFUSED), -EBUSY;
}

static int upgrade_one(struct bm_sqlite *s, sqlite3_stmt *row, int64_t format,
                       struct bm_error *err)
{
    const char *id = (const char *)sqlite3_column_text(row, 0);
    const char *text = (const char *)sqlite3_column_text(row, 1);
    BM_FREE char *upgraded = NULL;
    int rc;

    if (bm_job_running(&s->store, id))
        return running(s, id, err);
    rc = bm_job_format_upgrade(text, format, &upgraded, err);
    if (rc < 0)
        return rc == -EBADMSG ? damaged(s, id, err) : rc;
    return bm_sqlite_run(s, err, "UPDATE job SET journal = ? WHERE id = ?",
                         "ss", upgraded, id);
}

static int set_format(struct bm_sqlite *s, struct bm_error *err)
{
    char sql[48];

    /* a PRAGMA takes no bound value */
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", BM_JOB_FORMAT);
    return bm_sqlite_run(s, err, sql, "");
}

/* Under the write lock: another process may have been first. The rows are read
 * by rowid, and an UPDATE keeps that. */
static int upgrade_all(struct bm_sqlite *s, struct bm_error *err)
{
    BM_STMT sqlite3_stmt *row = NULL;
    int64_t format = 0;
    int rc = bm_sqlite_format(s, &format, err);

    if (rc == 0)
        rc = bm_job_format_check(format, s->path, err);
    if (rc < 0 || format == BM_JOB_FORMAT)
        return rc;
    rc = bm_sqlite_query(s, &row, err,
                         "SELECT id, journal FROM job ORDER BY rowid", "");
    while (rc == 0 && (rc = bm_sqlite_step(s, row, err)) == 1)
        rc = upgrade_one(s, row, format, err);
    return rc < 0 ? rc : set_format(s, err);
}

int bm_sqlite_upgrade(struct bm_job_store *store, struct bm_error *err)
{
    struct bm_sqlite *s = (struct bm_sqlite *)store;
    int64_t format = 0;
    int rc = bm_sqlite_format(s, &format, err);

    /* no lock for nothing: who writes without pause would not let us have it */
    if (rc < 0 || format == BM_JOB_FORMAT)
        return rc;
    rc = bm_sqlite_begin(s, err);
    return rc < 0 ? rc : bm_sqlite_end(s, upgrade_all(s, err), err);
}
