// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A new snapshot of a domain: external overlays, all in one transaction, and
 * libvirt's metadata of it.
 */
#ifndef BM_SNAPSHOT_TREE_CREATE_H
#define BM_SNAPSHOT_TREE_CREATE_H

#include "snapshot/domain/domain.h"

struct bm_snapshot_spec {
    const char *name, *description; /* description may be NULL */
    const char *memory;             /* where the guest's RAM goes; NULL: not */
    /* of each of the domain's disks: the overlay, an absolute path; NULL: the
     * disk is not in it */
    const char *const *overlays;
};

/* Asks for it. The overlays are there: qcow2, empty, of the disks' sizes. The
 * guest may be off, but for its memory. */
int bm_snapshot_create(struct bm_domain *domain,
                       const struct bm_snapshot_spec *spec, int timeout_ms,
                       struct bm_error *err);
/* What libvirt would note of it, with the domain as it is now and the current
 * snapshot as its parent: for a libvirtd that dies meanwhile. Caller frees.
 * parent may be NULL. */
int bm_snapshot_metadata(struct bm_domain *domain,
                         const struct bm_snapshot_spec *spec,
                         const char *parent, char **out, struct bm_error *err);

#endif
