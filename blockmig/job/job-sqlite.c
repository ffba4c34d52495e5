// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The job store on SQLite: the operations. Opening is in job-sqlite-open.c,
 * the small helpers that both use in job-sqlite-db.c.
 */
#include "blockmig/job/job-sqlite.h"

#include "blockmig/job/job-claim.h"
#include "blockmig/job/job-format.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <string.h>

static int no_such_job(struct bm_error *err, const char *id)
{
    bm_fail(err, ENOENT, "cannot find job %s", id);
    bm_cause(err, "there is no such job in this state directory");
    bm_remedy(err, "see 'blockmig job list --all'");
    bm_status(err, BM_EXIT_REFUSED);
    return -ENOENT;
}

static int no_memory(struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot write the job store");
}

/* A blockmig of a newer format may have upgraded the store since it was opened
 * here. What we write would then be of the wrong format. */
static int begin(struct bm_sqlite *s, struct bm_error *err)
{
    int64_t format = 0;
    int rc = bm_sqlite_begin(s, err);

    if (rc < 0)
        return rc;
    rc = bm_sqlite_format(s, &format, err);
    if (rc == 0)
        rc = bm_job_format_check(format, s->path, err);
    return rc < 0 ? bm_sqlite_end(s, rc, err) : 0;
}

/* --- claiming ----------------------------------------------------------- */

static int claimed(sqlite3_stmt *stmt, const struct bm_job *job,
                   struct bm_error *err)
{
    const char *id = (const char *)sqlite3_column_text(stmt, 0);

    bm_fail(err, EBUSY, "cannot claim the disks of %s", job->domain);
    bm_cause(err, "job %s has disk %s of %s (%s)", id,
             (const char *)sqlite3_column_text(stmt, 1),
             (const char *)sqlite3_column_text(stmt, 2),
             (const char *)sqlite3_column_text(stmt, 3));
    bm_remedy(err,
              "wait for it ('blockmig job watch %s'), or end it with "
              "'blockmig job cancel %s' or, if it is not running, "
              "'blockmig job resume %s'",
              id, id, id);
    bm_status(err, BM_EXIT_REFUSED);
    return -EBUSY;
}

/* Two disks of one job may share a key; another job's may not. */
static int claim_one(struct bm_sqlite *s, const struct bm_job *job,
                     const struct bm_claim *claim, struct bm_error *err)
{
    BM_STMT sqlite3_stmt *stmt = NULL;
    int rc = bm_sqlite_query(s, &stmt, err,
                             "SELECT job.id, claim.disk, job.domain, job.state"
                             " FROM claim JOIN job ON job.id = claim.job"
                             " WHERE claim.key = ? AND job.id != ?",
                             "ss", claim->key, job->id);

    if (rc == 0)
        rc = bm_sqlite_step(s, stmt, err);
    if (rc < 0)
        return rc;
    if (rc == 1)
        return claimed(stmt, job, err);
    return bm_sqlite_run(
        s, err, "INSERT OR IGNORE INTO claim (key, job, disk) VALUES (?, ?, ?)",
        "sss", claim->key, job->id, claim->disk);
}

static int add_event(struct bm_sqlite *s, const struct bm_job *job,
                     const char *text, struct bm_error *err)
{
    return bm_sqlite_run(
        s, err,
        "INSERT INTO event (job, time_ms, state, text) VALUES (?, ?, ?, ?)",
        "siss", job->id, job->updated_ms, bm_state_name(job->state), text);
}

static int claim_all(struct bm_sqlite *s, struct bm_job *job,
                     const struct bm_claims *claims, struct bm_error *err)
{
    BM_FREE char *journal = NULL;
    int rc;

    job->updated_ms = bm_wall_ms();
    journal = bm_job_to_json(job);
    if (!journal)
        return no_memory(err);
    rc =
        bm_sqlite_run(s, err,
                      "INSERT INTO job (id, domain, state, created_ms,"
                      " updated_ms, journal) VALUES (?, ?, ?, ?, ?, ?)",
                      "sssiis", job->id, job->domain, bm_state_name(job->state),
                      job->created_ms, job->updated_ms, journal);
    for (size_t i = 0; i < claims->n && rc == 0; i++)
        rc = claim_one(s, job, &claims->claims[i], err);
    return rc < 0 ? rc : add_event(s, job, "claimed", err);
}

static int sqlite_claim(struct bm_job_store *store, struct bm_job *job,
                        struct bm_error *err)
{
    struct bm_sqlite *s = (struct bm_sqlite *)store;
    struct bm_claims claims;
    int rc;

    if (bm_job_claims(job, &claims) < 0)
        return no_memory(err);
    rc = begin(s, err);
    if (rc == 0)
        rc = bm_sqlite_end(s, claim_all(s, job, &claims, err), err);
    bm_claims_clear(&claims);
    return rc;
}

/* --- saving ------------------------------------------------------------- */

static int update(struct bm_sqlite *s, const struct bm_job *job,
                  struct bm_error *err)
{
    BM_FREE char *journal = bm_job_to_json(job);
    int rc;

    if (!journal)
        return no_memory(err);
    rc = bm_sqlite_run(s, err,
                       "UPDATE job SET domain = ?, state = ?, updated_ms = ?,"
                       " journal = ? WHERE id = ?",
                       "ssiss", job->domain, bm_state_name(job->state),
                       job->updated_ms, journal, job->id);
    if (rc == 0 && sqlite3_changes(s->db) != 1)
        return no_such_job(err, job->id);
    return rc;
}

static int save_all(struct bm_sqlite *s, const struct bm_job *job,
                    const char *event, bool finish, struct bm_error *err)
{
    int rc = update(s, job, err);

    if (rc == 0 && event)
        rc = add_event(s, job, event, err);
    if (rc == 0 && finish)
        rc = bm_sqlite_run(s, err, "DELETE FROM claim WHERE job = ?", "s",
                           job->id);
    return rc;
}

static int sqlite_save(struct bm_job_store *store, struct bm_job *job,
                       const char *event, bool finish, struct bm_error *err)
{
    struct bm_sqlite *s = (struct bm_sqlite *)store;
    int rc = begin(s, err);

    if (rc < 0)
        return rc;
    job->updated_ms = bm_wall_ms();
    return bm_sqlite_end(s, save_all(s, job, event, finish, err), err);
}

/* Only a job that has not begun, or has ended: any other one owns files. */
static int may_forget(const char *id, const char *name, struct bm_error *err)
{
    enum bm_state state;

    if (bm_state_from_name(name, &state) == 0 &&
        (state == BM_STATE_PLANNED || state == BM_STATE_PREFLIGHT ||
         bm_state_final(state)))
        return 0;
    bm_fail(err, EBUSY, "cannot forget job %s", id);
    bm_cause(err, "it is not finished (%s)", name);
    bm_remedy(err, "end it with 'blockmig job resume %s'", id);
    bm_status(err, BM_EXIT_REFUSED);
    return -EBUSY;
}

static int forget_all(struct bm_sqlite *s, const char *id, struct bm_error *err)
{
    BM_STMT sqlite3_stmt *stmt = NULL;
    int rc = bm_sqlite_query(s, &stmt, err,
                             "SELECT state FROM job WHERE id = ?", "s", id);

    if (rc == 0)
        rc = bm_sqlite_step(s, stmt, err);
    if (rc == 0)
        return no_such_job(err, id);
    if (rc == 1)
        rc = may_forget(id, (const char *)sqlite3_column_text(stmt, 0), err);
    if (rc < 0)
        return rc;
    sqlite3_reset(stmt);
    /* claims and events go with it: ON DELETE CASCADE */
    return bm_sqlite_run(s, err, "DELETE FROM job WHERE id = ?", "s", id);
}

static int sqlite_forget(struct bm_job_store *store, const char *id,
                         struct bm_error *err)
{
    struct bm_sqlite *s = (struct bm_sqlite *)store;
    int rc = begin(s, err);

    return rc < 0 ? rc : bm_sqlite_end(s, forget_all(s, id, err), err);
}

/* --- reading ------------------------------------------------------------ */

/* A row's document with the format that it has, since somebody else may upgrade
 * the store while we read it. */
#define JOURNAL "journal, id, (SELECT user_version FROM pragma_user_version)"

static int read_document(struct bm_sqlite *s, const char *text, int64_t format,
                         struct bm_job **out, struct bm_error *err)
{
    BM_FREE char *upgraded = NULL;
    int rc = bm_job_format_check(format, s->path, err);

    if (rc == 0 && format < BM_JOB_FORMAT)
        rc = bm_job_format_upgrade(text, format, &upgraded, err);
    return rc < 0 ? rc : bm_job_from_json(upgraded ? upgraded : text, out, err);
}

static int read_journal(struct bm_sqlite *s, sqlite3_stmt *stmt,
                        struct bm_job **out, struct bm_error *err)
{
    const char *text = (const char *)sqlite3_column_text(stmt, 0);
    const char *id = (const char *)sqlite3_column_text(stmt, 1);
    int rc = read_document(s, text ? text : "", sqlite3_column_int64(stmt, 2),
                           out, err);

    if (rc == -EBADMSG && err)
        snprintf(err->what, sizeof err->what,
                 "cannot read the journal of job %s from %s", id, s->path);
    return rc;
}

static int sqlite_load(struct bm_job_store *store, const char *id,
                       struct bm_job **out, struct bm_error *err)
{
    struct bm_sqlite *s = (struct bm_sqlite *)store;
    BM_STMT sqlite3_stmt *stmt = NULL;
    int rc;

    if (!s->db || !bm_job_id_valid(id))
        return no_such_job(err, id);
    rc = bm_sqlite_query(s, &stmt, err,
                         "SELECT " JOURNAL " FROM job WHERE id = ?", "s", id);
    if (rc == 0)
        rc = bm_sqlite_step(s, stmt, err);
    if (rc == 0)
        return no_such_job(err, id);
    return rc < 0 ? rc : read_journal(s, stmt, out, err);
}

static int sqlite_list(struct bm_job_store *store, bm_job_each fn, void *opaque,
                       struct bm_error *err)
{
    struct bm_sqlite *s = (struct bm_sqlite *)store;
    BM_STMT sqlite3_stmt *stmt = NULL;
    int rc;

    if (!s->db)
        return 0;
    rc = bm_sqlite_query(s, &stmt, err,
                         "SELECT " JOURNAL " FROM job"
                         " ORDER BY created_ms, rowid",
                         "");
    while (rc == 0 && (rc = bm_sqlite_step(s, stmt, err)) == 1) {
        struct bm_job *job = NULL;

        rc = read_journal(s, stmt, &job, err);
        if (rc < 0)
            return rc;
        rc = fn(opaque, job);
        bm_job_free(job);
        if (rc != 0)
            return rc;
    }
    return rc;
}

static int sqlite_events(struct bm_job_store *store, const char *id,
                         bm_job_event_each fn, void *opaque,
                         struct bm_error *err)
{
    struct bm_sqlite *s = (struct bm_sqlite *)store;
    BM_STMT sqlite3_stmt *stmt = NULL;
    struct bm_job *job = NULL;
    int rc = sqlite_load(store, id, &job, err);

    bm_job_free(job);
    if (rc < 0)
        return rc;
    rc = bm_sqlite_query(s, &stmt, err,
                         "SELECT time_ms, state, text FROM event"
                         " WHERE job = ? ORDER BY rowid",
                         "s", id);
    while (rc == 0 && (rc = bm_sqlite_step(s, stmt, err)) == 1)
        rc = fn(opaque, sqlite3_column_int64(stmt, 0),
                (const char *)sqlite3_column_text(stmt, 1),
                (const char *)sqlite3_column_text(stmt, 2));
    return rc;
}

const struct bm_job_store_ops bm_job_sqlite_ops = {
    .close = bm_sqlite_close,
    .upgrade = bm_sqlite_upgrade,
    .claim = sqlite_claim,
    .save = sqlite_save,
    .forget = sqlite_forget,
    .load = sqlite_load,
    .list = sqlite_list,
    .events = sqlite_events,
};
