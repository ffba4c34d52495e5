// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The parts of preflight: the disks that move, their chains, the snapshots, the
 * room and the target. Internal to preflight.c. Each adds its checks; -ENOMEM
 * or another errno only when the list could not be made.
 */
#ifndef BM_PREFLIGHT_PREFLIGHT_PRIVATE_H
#define BM_PREFLIGHT_PREFLIGHT_PRIVATE_H

#include "blockmig/preflight/preflight.h"

/* What every part looks at. */
struct bm_preflight_context {
    struct bm_connection *conn;
    struct bm_domain *domain;
    const struct bm_datastore *store;
    const struct bm_job *job;
    struct bm_preflight *list;
};

#define BM_REFUSED(look, name, disk, remedy, ...)                              \
    bm_preflight_add((look)->list, BM_REFUSE, name, disk, remedy, __VA_ARGS__)
#define BM_WARNED(look, name, disk, remedy, ...)                               \
    bm_preflight_add((look)->list, BM_WARN, name, disk, remedy, __VA_ARGS__)
#define BM_FINE(look, name, disk, ...)                                         \
    bm_preflight_add((look)->list, BM_OK, name, disk, NULL, __VA_ARGS__)

/* The domain as a whole, whatever is to be done with its disks. */
int bm_preflight_domain(const struct bm_preflight_context *look,
                        struct bm_error *err);
int bm_preflight_disk(const struct bm_preflight_context *look,
                      const struct bm_job_disk *plan, struct bm_disk *disk,
                      struct bm_error *err);
/* What becomes of its layers, and how they are made. */
int bm_preflight_chain(const struct bm_preflight_context *look,
                       const struct bm_job_disk *plan);
/* libvirt's snapshots of the domain: whether they can be carried over. */
int bm_preflight_snapshots(const struct bm_preflight_context *look,
                           struct bm_error *err);
int bm_preflight_rescue(const struct bm_preflight_context *look);
/* Of a snapshot job: none where libvirt would refuse it for them. */
int bm_preflight_no_checkpoints(const struct bm_preflight_context *look);
int bm_preflight_checkpoints(const struct bm_preflight_context *look,
                             struct bm_error *err);
/* Room for the worst case on each file system: images and overlays; and where
 * the overlays stand. */
int bm_preflight_space(const struct bm_preflight_context *look,
                       struct bm_error *err);
struct bm_space_need;
/* One file system; spare: bytes that must be free besides. */
int bm_preflight_need(const struct bm_preflight_context *look,
                      const struct bm_space_need *it, uint64_t spare,
                      const char *remedy);
/* That the guest's agent answers, for --quiesce. */
int bm_preflight_agent(const struct bm_preflight_context *look);
int bm_preflight_target(const struct bm_preflight_context *look,
                        struct bm_error *err);

#endif
