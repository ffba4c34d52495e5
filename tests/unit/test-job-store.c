// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/job-fixture.h"

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
    bm_job_set_state(job, BM_STATE_COPYING);
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
    const char *source = make_file("source"), *conn = in_dir("link");
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
    cr_assert_eq(linkat(AT_FDCWD, in_dir("source"), AT_FDCWD, conn, 0), 0);
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
    bm_job_set_state(job, BM_STATE_DONE);
    cr_assert_eq(bm_job_store_finish(store, job, "done", &err), 0);
    cr_assert_gt(job->result.ended_ms, 0);
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
    bm_job_set_state(job, BM_STATE_HELD);
    cr_assert_eq(bm_job_store_save(store, job, NULL, NULL), 0);
    cr_assert_eq(bm_job_store_forget(store, job->id, &err), -EBUSY);
    bm_job_set_state(job, BM_STATE_PREFLIGHT);
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
    struct bm_job_store *store = NULL;
    struct bm_job *job = new_job("u1", "/s", "/d");

    strcpy(job->id, id);
    if (bm_job_store_open(in_dir("state"), false, &store, NULL) != 0 ||
        claim(store, job, NULL) != 0)
        _exit(1);
    bm_job_set_state(job, BM_STATE_SWITCHING);
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
    pid = fork_bound();
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

/* --- two at once -------------------------------------------------------- */

/* All begin at the same moment, on a store that does not exist yet. */
Test(job_store, one_of_many_wins)
{
    int gate[2], won = 0;

    cr_assert_eq(pipe(gate), 0);
    for (int i = 0; i < 8; i++) {
        if (fork_bound() == 0) {
            struct bm_job_store *store = NULL;
            struct bm_job *job = new_job("u1", "/s", "/d");
            char c;

            close(gate[1]);
            (void)!read(gate[0], &c, 1);
            if (bm_job_store_open(in_dir("state"), false, &store, NULL) != 0)
                _exit(1);
            _exit(claim(store, job, NULL) == 0 ? 42 : 0);
        }
    }
    close(gate[0]);
    close(gate[1]);
    for (int i = 0; i < 8; i++) {
        int status = 0;

        cr_assert_gt(wait(&status), 0);
        cr_assert(WIFEXITED(status));
        cr_assert_neq(WEXITSTATUS(status), 1, "it could not open the store");
        won += WEXITSTATUS(status) == 42;
    }
    cr_assert_eq(won, 1, "%d won", won);
}
