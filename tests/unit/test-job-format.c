// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Job stores of another format than ours. Those that an older blockmig has
 * really written are in tests/stores; see tests/integration/old-store.sh.
 */
#include "tests/unit/job-fixture.h"

#include "blockmig/job/job-format.h"

/* As format 1 had it. */
static void make_old(void)
{
    change("UPDATE job SET journal = json_set(journal, '$.version', 3);"
           "PRAGMA user_version = 1");
}

/* One number of the database, as it is in the file. */
static int64_t number(const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;
    int64_t value;

    cr_assert_eq(sqlite3_open(in_dir("state/jobs.sqlite"), &db), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW);
    value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return value;
}

static void is_old(void)
{
    cr_assert_eq(number("PRAGMA user_version"), 1);
    cr_assert_eq(number("SELECT count(*) FROM job"
                        " WHERE json_extract(journal, '$.version') IS NULL"),
                 0);
}

static void is_ours(void)
{
    cr_assert_eq(number("PRAGMA user_version"), BM_JOB_FORMAT);
    cr_assert_eq(number("SELECT count(*) FROM job"
                        " WHERE json_extract(journal, '$.version') NOT NULL"),
                 0);
}

static struct bm_job_store *open_readonly(void)
{
    struct bm_job_store *store = NULL;
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(bm_job_store_open(in_dir("state"), true, &store, &err), 0,
                 "%s: %s", err.what, err.cause);
    return store;
}

static int first_id(void *opaque, const struct bm_job *job)
{
    strcpy(opaque, job->id);
    return 1;
}

static int count_event(void *opaque, int64_t time_ms, const char *state,
                       const char *text)
{
    ++*(int *)opaque;
    return 0;
}

/* It is refused, with that cause, and is what it was. */
static void refuses(int code, enum bm_exit status, const char *cause,
                    const char *remedy)
{
    struct bm_job_store *store = NULL;
    struct bm_error err = BM_ERROR_INIT;
    size_t before, after;
    BM_FREE char *a = read_all(in_dir("state/jobs.sqlite"), &before);
    BM_FREE char *b = NULL;

    cr_assert_eq(bm_job_store_open(in_dir("state"), false, &store, &err), code);
    cr_assert_null(store);
    cr_assert_eq(err.status, status);
    cr_assert_not_null(strstr(err.what, "jobs.sqlite"), "%s", err.what);
    cr_assert_not_null(strstr(err.cause, cause), "%s", err.cause);
    cr_assert_not_null(strstr(err.remedy, remedy), "%s", err.remedy);
    b = read_all(in_dir("state/jobs.sqlite"), &after);
    cr_assert_eq(before, after);
    cr_assert_eq(memcmp(a, b, after), 0);
}

Test(job_store, a_new_one_is_of_our_format)
{
    filled_store();
    is_ours();
}

Test(job_store, an_older_one_is_upgraded)
{
    struct bm_job_store *store;
    char id[BM_JOB_ID_LEN];
    int events = 0;

    filled_store();
    make_old();
    is_old();
    store = open_store();
    cr_assert_eq(count_jobs(store), 50);
    (void)bm_job_store_list(store, first_id, id, NULL);
    cr_assert_eq(bm_job_store_events(store, id, count_event, &events, NULL), 0);
    cr_assert_eq(events, 1);
    bm_job_store_close(store);
    is_ours();
    cr_assert_eq(number("SELECT count(*) FROM claim"), 150);
    bm_job_store_close(open_store());
    is_ours();
}

Test(job_store, an_empty_older_one_is_upgraded)
{
    bm_job_store_close(open_store());
    make_old();
    bm_job_store_close(open_store());
    is_ours();
}

Test(job_store, who_only_looks_upgrades_nothing)
{
    struct bm_job_store *store;
    size_t before, after;
    BM_FREE char *a = NULL;
    BM_FREE char *b = NULL;

    filled_store();
    make_old();
    a = read_all(in_dir("state/jobs.sqlite"), &before);
    store = open_readonly();
    cr_assert_eq(count_jobs(store), 50);
    bm_job_store_close(store);
    b = read_all(in_dir("state/jobs.sqlite"), &after);
    cr_assert_eq(before, after);
    cr_assert_eq(memcmp(a, b, after), 0);
}

Test(job_store, who_looks_may_see_the_upgrade)
{
    struct bm_job_store *store;

    filled_store();
    make_old();
    store = open_readonly();
    cr_assert_eq(count_jobs(store), 50);
    bm_job_store_close(open_store());
    is_ours();
    cr_assert_eq(count_jobs(store), 50);
    bm_job_store_close(store);
}

/* The last document is the damaged one: those before it stay old too. */
Test(job_store, an_upgrade_is_all_or_nothing)
{
    filled_store();
    make_old();
    change("UPDATE job SET journal = json_set(journal, '$.version', 2)"
           " WHERE domain = 'u49'");
    refuses(-EBADMSG, BM_EXIT_FAILED, "field version is not 3", "restore");
    is_old();
    change("UPDATE job SET journal = substr(journal, 2)"
           " WHERE domain = 'u49'");
    refuses(-EBADMSG, BM_EXIT_FAILED, "not a JSON object", "restore");
    change("DELETE FROM job WHERE domain = 'u49'");
    is_old();
    bm_job_store_close(open_store());
    is_ours();
}

/* What an older blockmig is at work on is not taken from it. */
Test(job_store, a_running_job_keeps_its_format)
{
    struct bm_job_store *store;
    struct bm_error err = BM_ERROR_INIT;
    char id[BM_JOB_ID_LEN];
    int lock;

    filled_store();
    store = open_readonly();
    (void)bm_job_store_list(store, first_id, id, NULL);
    lock = bm_job_run_lock(store, id, &err);
    cr_assert_geq(lock, 0);
    make_old();
    refuses(-EBUSY, BM_EXIT_REFUSED, id, "wait");
    is_old();
    cr_assert_eq(count_jobs(store), 50);
    bm_job_run_unlock(store, id, lock);
    bm_job_store_close(store);
    bm_job_store_close(open_store());
    is_ours();
}

Test(job_store, a_newer_one_is_refused)
{
    struct bm_job_store *store = NULL;
    struct bm_error err = BM_ERROR_INIT;

    filled_store();
    change("PRAGMA user_version = 3");
    refuses(-EPROTO, BM_EXIT_REFUSED, "in format 3", "newer blockmig");
    cr_assert_eq(bm_job_store_open(in_dir("state"), true, &store, &err),
                 -EPROTO);
    cr_assert_eq(err.status, BM_EXIT_REFUSED);
}

Test(job_store, a_format_that_never_was_is_refused)
{
    filled_store();
    change("PRAGMA user_version = -1");
    refuses(-EPROTO, BM_EXIT_REFUSED, "number is -1", "restore");
    change("PRAGMA user_version = 0");
    refuses(-EPROTO, BM_EXIT_REFUSED, "number is 0", "restore");
}

/* Upgraded by a newer blockmig while we have it open. */
Test(job_store, a_newer_one_is_not_written_to)
{
    struct bm_job_store *store;
    struct bm_error err = BM_ERROR_INIT;
    struct bm_job *job = new_job("v1", "/s", "/d"), *back = NULL;
    char id[BM_JOB_ID_LEN];

    filled_store();
    store = open_store();
    cr_assert_eq(claim(store, job, NULL), 0);
    strcpy(id, job->id);
    change("PRAGMA user_version = 3");
    bm_job_set_state(job, BM_STATE_COPYING);
    cr_assert_eq(bm_job_store_save(store, job, "x", &err), -EPROTO);
    cr_assert_eq(bm_job_store_load(store, id, &back, &err), -EPROTO);
    change("PRAGMA user_version = 2");
    cr_assert_eq(bm_job_store_load(store, id, &back, &err), 0);
    cr_assert_eq(back->state, BM_STATE_PLANNED);
    cr_assert_eq(bm_job_store_save(store, job, "x", &err), 0);
    bm_job_free(back);
    bm_job_free(job);
    bm_job_store_close(store);
}
