// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The list of checks before a move, each with a verdict and a remedy. It
 * looks and never touches. Rows: libvirt.md section 6, and design.md.
 */
#ifndef BM_PREFLIGHT_PREFLIGHT_H
#define BM_PREFLIGHT_PREFLIGHT_H

#include "blockmig/job/job.h"
#include "blockmig/datastore/datastore.h"
#include "snapshot/domain/domain.h"

enum bm_verdict { BM_OK, BM_WARN, BM_REFUSE };
const char *bm_verdict_name(enum bm_verdict verdict);

struct bm_check {
    enum bm_verdict verdict;
    char name[32];  /* e.g. "room", "shareable" */
    char disk[32];  /* "" for the domain as a whole */
    char text[512]; /* what was found */
    char remedy[512];
};

struct bm_preflight {
    struct bm_check *checks;
    size_t n;
    bool refused;
};
void bm_preflight_clear(struct bm_preflight *preflight);

/* Adds a check. -ENOMEM or 0. */
int bm_preflight_add(struct bm_preflight *preflight, enum bm_verdict verdict,
                     const char *name, const char *disk, const char *remedy,
                     const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

/*
 * All checks of a planned job (its disks chosen, its target paths set) on
 * this domain and store. A negative errno only when a check could not be
 * made at all; refusals are in the list.
 */
int bm_preflight_run(struct bm_connection *conn, struct bm_domain *domain,
                     const struct bm_store *store, const struct bm_job *job,
                     struct bm_preflight *preflight, struct bm_error *err);

/* The same of a planned merge (BM_STRATEGY_MERGE). */
int bm_preflight_merge(struct bm_connection *conn, struct bm_domain *domain,
                       const struct bm_job *job, struct bm_preflight *preflight,
                       struct bm_error *err);

/* The first refusal as an error with status BM_EXIT_REFUSED. */
int bm_preflight_error(const struct bm_preflight *preflight,
                       struct bm_error *err);

#endif
