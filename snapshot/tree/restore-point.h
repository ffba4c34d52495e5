// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Restore points: what libvirt's snapshot metadata of a domain means. The state
 * of a disk at an external point is the image that the disk stood on then; the
 * guest has written to another one, the overlay, since.
 */
#ifndef BM_SNAPSHOT_TREE_RESTORE_POINT_H
#define BM_SNAPSHOT_TREE_RESTORE_POINT_H

#include "snapshot/tree/metadata.h"

struct bm_restore_point_disk {
    char *target; /* vda */
    bool external, internal;
    struct bm_chain image; /* external: the state, as the XML names it: the
                            * image alone, or with what is below it */
    char *overlay;         /* external: put on it by this point; or NULL */
};

struct bm_restore_point {
    char *name, *parent, *description; /* the last two may be NULL */
    char *state;                       /* libvirt's word: disk-snapshot, ... */
    int64_t created_s;                 /* wall clock */
    bool current;
    char *memory;         /* external: the file with the guest's RAM; or NULL */
    bool memory_internal; /* in an image */
    struct bm_restore_point_disk *disks;
    size_t n_disks;
    char *xml; /* all that libvirt says, with what is secret in it */
};

struct bm_restore_points {
    struct bm_restore_point *list; /* parents before their children */
    size_t n;
};

/* Clear with bm_restore_points_clear. */
int bm_restore_points_read(struct bm_domain *domain,
                           struct bm_restore_points *out, struct bm_error *err);
void bm_restore_points_clear(struct bm_restore_points *points);
#define BM_RESTORE_POINTS                                                      \
    __attribute__((cleanup(bm_restore_points_clear))) struct bm_restore_points

/* From one <domainsnapshot>; for tests and the above. -EBADMSG, -ENOMEM. */
int bm_restore_point_from_xml(const char *xml, struct bm_restore_point *out);

/* Borrowed; NULL: there is none. */
const struct bm_restore_point *
bm_restore_points_find(const struct bm_restore_points *points,
                       const char *name);
/* Of an external point that holds that disk; NULL: it does not. */
const struct bm_restore_point_disk *
bm_restore_point_disk(const struct bm_restore_point *point, const char *target);
/* Whether any of it is internal: in an image, and not an image of its own. */
bool bm_restore_point_internal(const struct bm_restore_point *point);
/* Whether `name` is `ancestor` or descends from it. */
bool bm_restore_points_descends(const struct bm_restore_points *points,
                                const char *name, const char *ancestor);

#endif
