// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libvirt's snapshot metadata of a domain: what it says, and making it say the
 * truth again (docs/pitfalls.md P21, P22). A picture of one moment.
 */
#ifndef BM_SNAPSHOT_TREE_METADATA_H
#define BM_SNAPSHOT_TREE_METADATA_H

#include "snapshot/domain/domain.h"

struct bm_snapshot {
    char *name;
    char *xml; /* with what is secret in it; volumes as the paths they are */
    bool current;
};

struct bm_snapshots {
    struct bm_snapshot *list; /* parents before their children */
    size_t n;
};

/* Clear with bm_snapshots_clear. A hypervisor that knows no snapshots has
 * none. Can be abandoned at its deadline. */
int bm_snapshots_read(struct bm_domain *domain, struct bm_snapshots *out,
                      struct bm_error *err);
void bm_snapshots_clear(struct bm_snapshots *snapshots);

/* Where its metadata names one of these images, it names what took it. 1: so it
 * was rewritten; 0: none is named there. */
struct bm_image_moved;
int bm_snapshot_replace(struct bm_domain *domain,
                        const struct bm_snapshot *snapshot,
                        const struct bm_image_moved *moved, size_t n,
                        struct bm_error *err);

/* Replaces the metadata of that snapshot (REDEFINE); the current one stays it.
 * Images are not touched. */
int bm_snapshot_redefine(struct bm_domain *domain,
                         const struct bm_snapshot *snapshot, const char *xml,
                         struct bm_error *err);

/* Takes the metadata of a snapshot away, and nothing else; its children become
 * those of its parent, and if it was the current one the parent is. One that is
 * gone is fine. */
int bm_snapshot_forget(struct bm_domain *domain, const char *name,
                       struct bm_error *err);

#endif
