// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The part of a job that is a snapshot command: restore points that go, and
 * layers that go down into the one below them. In the journal, as all of a
 * job.
 */
#ifndef BM_JOB_JOB_SNAPSHOT_H
#define BM_JOB_JOB_SNAPSHOT_H

#include "nbd/digest/digest.h"
#include "snapshot/domain/chain.h"

/* What a merge must show before a layer is deleted. */
enum bm_merge_proof {
    BM_PROOF_NONE,
    BM_PROOF_TOUCHED, /* the clusters of the layers that go */
    BM_PROOF_FULL,    /* the whole view, before and after */
};
const char *bm_merge_proof_name(enum bm_merge_proof proof);

struct bm_job_merge {
    char *target; /* vda */
    /* From the top, those that go; the last one takes what they hold. One
     * alone: nothing stands on it, and it goes. */
    struct bm_chain layers;
    /* What stands on the uppermost: not a chain, a list. */
    struct bm_chain children;
    uint64_t held;     /* bytes, by those that go */
    bool begun;        /* journal: before anything is written */
    bool merged;       /* the last one holds all of it */
    char *stamp;       /* the identity of the uppermost when it was merged,
                        * where no guest ran on it; or NULL */
    bool proven, done; /* done: names, metadata, files too */
    /* of the base when it was proven; size 0: a device */
    uint64_t base_ino, base_size;
    uint64_t proof_bytes; /* that were compared */
    char digest[65];      /* of the view of them */
    char proof_medium[16];
};

/* A restore point that goes. */
struct bm_job_point {
    char *name;
    char *memory; /* the file with the guest's RAM, which goes too; or NULL */
    bool gone;
};

struct bm_job_snapshot {
    char *verb;        /* create, revert, delete, commit, consolidate */
    char *name;        /* create, revert: the restore point; else NULL */
    char *description; /* create; or NULL */
    char *memory;      /* create, revert: the file with the guest's RAM, or
                        * NULL */
    /* create: the metadata; revert: the domain as it was, and as it is to be;
     * with what is secret in it. Else NULL. */
    char *xml, *xml_after;
    char *socket; /* of a view: where it is served */
    char *branch; /* revert: the restore point that keeps what is left behind;
                   * NULL: nothing is */
    bool group;   /* create: of several domains, at one instant */
    bool start;   /* revert: the guest is to run afterwards */
    enum bm_merge_proof proof;
    struct bm_job_merge *merges;
    size_t n_merges;
    struct bm_job_point *points;
    size_t n_points;
};

struct bm_job_snapshot *bm_job_snapshot_new(const char *verb);
void bm_job_snapshot_free(struct bm_job_snapshot *snapshot); /* accepts NULL */
/* Another one at the end, all zero; NULL: out of memory. */
struct bm_job_merge *
bm_job_snapshot_add_merge(struct bm_job_snapshot *snapshot);
int bm_job_snapshot_add_point(struct bm_job_snapshot *snapshot,
                              const char *name, const char *memory);
bool bm_job_snapshot_has_point(const struct bm_job_snapshot *snapshot,
                               const char *name);

/* The layer that takes all. */
const struct bm_layer *bm_merge_base(const struct bm_job_merge *merge);
/* How many layers go. */
size_t bm_merge_goes(const struct bm_job_merge *merge);

#endif
