// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A domain's checkpoints: instants since which libvirt records, in a dirty
 * bitmap of each disk, what the guest writes. An incremental backup stands on
 * them. libvirt keeps their metadata, the images the bitmaps.
 */
#ifndef BM_SNAPSHOT_TREE_CHECKPOINT_H
#define BM_SNAPSHOT_TREE_CHECKPOINT_H

#include "snapshot/domain/domain.h"

struct bm_checkpoint_disk {
    char *target; /* vda */
    char *bitmap; /* its name in the image */
    bool whole;   /* of a running domain: QEMU has it, in every layer needed */
};

struct bm_checkpoint {
    char *name;
    struct bm_checkpoint_disk *disks; /* those that it records */
    size_t n_disks;
};

/* Parents first. Free with bm_checkpoints_clear. */
struct bm_checkpoints {
    struct bm_checkpoint *list;
    size_t n;
};
void bm_checkpoints_clear(struct bm_checkpoints *checkpoints);

/* Asks QEMU too, if the domain runs; -EBUSY while it makes a backup. */
int bm_checkpoints_read(struct bm_domain *domain, struct bm_checkpoints *out,
                        struct bm_error *err);
/* The disk of a checkpoint; NULL: it does not record that one. Borrowed. */
const struct bm_checkpoint_disk *
bm_checkpoint_disk(const struct bm_checkpoint *checkpoint, const char *target);

/* Deletes libvirt's metadata of one, and leaves the bitmaps. One that is gone
 * is as good. */
int bm_checkpoint_forget(struct bm_domain *domain, const char *name,
                         struct bm_error *err);

#endif
