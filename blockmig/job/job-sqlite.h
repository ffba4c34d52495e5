// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Between job-sqlite-open.c (opening and its checks), job-sqlite-upgrade.c (an
 * older format), job-sqlite-db.c (errors and statements) and job-sqlite.c (the
 * operations). Nobody else includes it.
 */
#ifndef BM_JOB_JOB_SQLITE_H
#define BM_JOB_JOB_SQLITE_H

#include "blockmig/job/job-store-ops.h"

#include <sqlite3.h>

struct bm_sqlite {
    struct bm_job_store store; /* first */
    sqlite3 *db;               /* NULL: read only, and there is none */
    char *path;
};

extern const struct bm_job_store_ops bm_job_sqlite_ops;
void bm_sqlite_close(struct bm_job_store *store);
int bm_sqlite_upgrade(struct bm_job_store *store, struct bm_error *err);

static inline void bm_cleanup_stmt(sqlite3_stmt **stmt)
{
    sqlite3_finalize(*stmt);
}
#define BM_STMT __attribute__((cleanup(bm_cleanup_stmt)))

/* Fills err from the database's last error. Returns a negative errno. */
int bm_sqlite_fail(struct bm_sqlite *s, struct bm_error *err);
/* The one message about a damaged file. */
int bm_sqlite_damaged(struct bm_sqlite *s, struct bm_error *err,
                      const char *text);
/* Prepares sql and binds one value a letter of types: s a string (borrowed
 * until the statement ends; NULL is null), i an int64_t. */
int bm_sqlite_query(struct bm_sqlite *s, sqlite3_stmt **stmt,
                    struct bm_error *err, const char *sql, const char *types,
                    ...);
/* 1: a row; 0: no more; else a negative errno. */
int bm_sqlite_step(struct bm_sqlite *s, sqlite3_stmt *stmt,
                   struct bm_error *err);
/* Query and step of what returns no rows. */
int bm_sqlite_run(struct bm_sqlite *s, struct bm_error *err, const char *sql,
                  const char *types, ...);

/* The first value of the first row; 0 where there is none. */
int bm_sqlite_number(struct bm_sqlite *s, const char *sql, int64_t *out,
                     struct bm_error *err);
/* The number of job-format.h, as the file has it now. */
int bm_sqlite_format(struct bm_sqlite *s, int64_t *out, struct bm_error *err);

/* One transaction, with the write lock from its beginning. */
int bm_sqlite_begin(struct bm_sqlite *s, struct bm_error *err);
/* Commits when rc is 0, else rolls back; returns what became of it. */
int bm_sqlite_end(struct bm_sqlite *s, int rc, struct bm_error *err);

#endif
