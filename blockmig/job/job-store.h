// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The durable job store. What bm_job_store_save returned 0 for survives a
 * power cut (SQLite: WAL, synchronous FULL). One table of operations a
 * backend; SQLite is the embedded one.
 *
 * Threads: one store handle, one thread at a time.
 */
#ifndef BM_JOB_JOB_STORE_H
#define BM_JOB_JOB_STORE_H

#include "blockmig/job/job.h"

struct bm_job_store;

/* The state directory: $XDG_STATE_HOME/blockmig, else ~/.local/state/blockmig,
 * as root /var/lib/blockmig. Caller frees. */
char *bm_state_dir_default(void);

/* Makes it (0700) when missing; refuses one that others may write in. */
int bm_state_dir_make(const char *dir, struct bm_error *err);

/* path: the state directory, made (0700) when missing; the database is
 * jobs.sqlite in it. A broken database is an error that says so (quick_check)
 * and is never repaired or replaced. One of an older format (job-format.h) is
 * upgraded; -EBUSY with status BM_EXIT_REFUSED while a process of an older
 * blockmig runs a job of it. One of a newer format is refused: -EPROTO.
 * readonly: nothing is made or changed; a missing store reads as an empty
 * one, an older one as if it had been upgraded. */
int bm_job_store_open(const char *dir, bool readonly, struct bm_job_store **out,
                      struct bm_error *err);
void bm_job_store_close(struct bm_job_store *store); /* accepts NULL */
const char *bm_job_store_dir(const struct bm_job_store *store);

/*
 * Inserts the job and claims its domain's disks and its image files in one
 * transaction. -EBUSY with status BM_EXIT_REFUSED, and the first job named
 * ("job 1a2b3c4d has disk vda of vm1 (copying)"), when an unfinished job has
 * one of them. Claims end with bm_job_store_finish.
 */
int bm_job_store_claim(struct bm_job_store *store, struct bm_job *job,
                       struct bm_error *err);
/* Writes the journal and adds an event when text is given; updates
 * updated_ms. Durable when it returns 0. */
int bm_job_store_save(struct bm_job_store *store, struct bm_job *job,
                      const char *event, struct bm_error *err);
/* As save, for a final state: ends the claims in the same transaction. */
int bm_job_store_finish(struct bm_job_store *store, struct bm_job *job,
                        const char *event, struct bm_error *err);
/* Forgets a job that touched nothing (refused by preflight), or is final. */
int bm_job_store_forget(struct bm_job_store *store, const char *id,
                        struct bm_error *err);
/* ENOENT, status BM_EXIT_REFUSED: no such job. */
int bm_job_store_load(struct bm_job_store *store, const char *id,
                      struct bm_job **out, struct bm_error *err);
/* fn for each job, oldest first; the job is the store's. Non-zero stops. */
typedef int (*bm_job_each)(void *opaque, const struct bm_job *job);
int bm_job_store_list(struct bm_job_store *store, bm_job_each fn, void *opaque,
                      struct bm_error *err);
typedef int (*bm_job_event_each)(void *opaque, int64_t time_ms,
                                 const char *state, const char *text);
int bm_job_store_events(struct bm_job_store *store, const char *id,
                        bm_job_event_each fn, void *opaque,
                        struct bm_error *err);

/*
 * The right to run a job: an OFD lock on DIR/ID.lock, released by the kernel
 * when the holder dies. Returns a descriptor; -EBUSY: it is running.
 */
int bm_job_run_lock(const struct bm_job_store *store, const char *id,
                    struct bm_error *err);
/* Ends it cleanly: removes the lock's file and closes fd (-1 is accepted). */
void bm_job_run_unlock(const struct bm_job_store *store, const char *id,
                       int fd);
bool bm_job_running(const struct bm_job_store *store, const char *id);

#endif
