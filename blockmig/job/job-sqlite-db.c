// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Errors, statements and transactions of the job store's database. */
#include "blockmig/job/job-sqlite.h"

#include <errno.h>

static int to_errno(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return EBUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return EUCLEAN;
    case SQLITE_FULL:
        return ENOSPC;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return EACCES;
    case SQLITE_NOMEM:
        return ENOMEM;
    case SQLITE_CONSTRAINT:
        return EEXIST;
    case SQLITE_CANTOPEN:
        return ENOENT;
    default:
        return EIO;
    }
}

int bm_sqlite_damaged(struct bm_sqlite *s, struct bm_error *err,
                      const char *text)
{
    bm_fail(err, EUCLEAN, "cannot use the job store %s", s->path);
    bm_cause(err, "it is damaged: %s", text);
    bm_remedy(err,
              "nothing was changed; restore the file from a backup, or give "
              "another directory with --state PATH and keep this one: it "
              "names the jobs' images");
    return -EUCLEAN;
}

int bm_sqlite_fail(struct bm_sqlite *s, struct bm_error *err)
{
    int code = s->db ? sqlite3_extended_errcode(s->db) : SQLITE_NOMEM;
    const char *text = s->db ? sqlite3_errmsg(s->db) : "out of memory";

    if (to_errno(code) == EUCLEAN)
        return bm_sqlite_damaged(s, err, text);
    bm_fail(err, to_errno(code), "cannot use the job store %s", s->path);
    bm_cause(err, "SQLite: %s", text);
    if (to_errno(code) == ENOSPC)
        bm_remedy(err, "make room in its file system");
    if ((code & 0xff) == SQLITE_READONLY)
        bm_remedy(err, "make it writable, as it is for those who only look, "
                       "too; or give another directory with --state PATH");
    return -to_errno(code);
}

static int bind_all(struct bm_sqlite *s, sqlite3_stmt *stmt, const char *types,
                    va_list ap)
{
    for (int i = 1; *types; i++, types++) {
        int rc;

        if (*types == 'i')
            rc = sqlite3_bind_int64(stmt, i, va_arg(ap, int64_t));
        else
            rc = sqlite3_bind_text(stmt, i, va_arg(ap, const char *), -1,
                                   SQLITE_STATIC);
        if (rc != SQLITE_OK)
            return -EIO;
    }
    return 0;
}

static int vquery(struct bm_sqlite *s, sqlite3_stmt **stmt,
                  struct bm_error *err, const char *sql, const char *types,
                  va_list ap)
{
    if (sqlite3_prepare_v2(s->db, sql, -1, stmt, NULL) != SQLITE_OK ||
        bind_all(s, *stmt, types, ap) < 0)
        return bm_sqlite_fail(s, err);
    return 0;
}

int bm_sqlite_query(struct bm_sqlite *s, sqlite3_stmt **stmt,
                    struct bm_error *err, const char *sql, const char *types,
                    ...)
{
    va_list ap;
    int rc;

    va_start(ap, types);
    rc = vquery(s, stmt, err, sql, types, ap);
    va_end(ap);
    return rc;
}

int bm_sqlite_step(struct bm_sqlite *s, sqlite3_stmt *stmt,
                   struct bm_error *err)
{
    switch (sqlite3_step(stmt)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return bm_sqlite_fail(s, err);
    }
}

int bm_sqlite_run(struct bm_sqlite *s, struct bm_error *err, const char *sql,
                  const char *types, ...)
{
    BM_STMT sqlite3_stmt *stmt = NULL;
    va_list ap;
    int rc;

    va_start(ap, types);
    rc = vquery(s, &stmt, err, sql, types, ap);
    va_end(ap);
    if (rc == 0)
        rc = bm_sqlite_step(s, stmt, err);
    return rc < 0 ? rc : 0;
}

int bm_sqlite_number(struct bm_sqlite *s, const char *sql, int64_t *out,
                     struct bm_error *err)
{
    BM_STMT sqlite3_stmt *stmt = NULL;
    int rc = bm_sqlite_query(s, &stmt, err, sql, "");

    if (rc == 0)
        rc = bm_sqlite_step(s, stmt, err);
    if (rc >= 0)
        *out = rc == 1 ? sqlite3_column_int64(stmt, 0) : 0;
    return rc < 0 ? rc : 0;
}

int bm_sqlite_format(struct bm_sqlite *s, int64_t *out, struct bm_error *err)
{
    return bm_sqlite_number(s, "SELECT * FROM pragma_user_version", out, err);
}

int bm_sqlite_begin(struct bm_sqlite *s, struct bm_error *err)
{
    return bm_sqlite_run(s, err, "BEGIN IMMEDIATE", "");
}

int bm_sqlite_end(struct bm_sqlite *s, int rc, struct bm_error *err)
{
    if (rc == 0)
        rc = bm_sqlite_run(s, err, "COMMIT", "");
    /* an error may have ended the transaction by itself */
    if (rc < 0 && !sqlite3_get_autocommit(s->db))
        (void)bm_sqlite_run(s, NULL, "ROLLBACK", "");
    return rc;
}

void bm_sqlite_close(struct bm_job_store *store)
{
    struct bm_sqlite *s = (struct bm_sqlite *)store;

    if (s->db)
        sqlite3_close(s->db);
    free(s->path);
    free(s);
}
