// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A pull-mode backup of libvirt's: the disks of a running guest as they are at
 * one instant, served over NBD, read-only. What the guest overwrites is saved
 * aside first. One a domain; it is gone with the guest.
 */
#ifndef BM_SNAPSHOT_BLOCKJOB_BACKUP_H
#define BM_SNAPSHOT_BLOCKJOB_BACKUP_H

#include "snapshot/domain/domain.h"

struct bm_backup_disk {
    const char *target;  /* vda; also the name of its export */
    const char *scratch; /* where old blocks go; libvirt makes and removes it */
};

/* socket: a Unix socket that QEMU makes. */
int bm_backup_begin(struct bm_domain *domain, const char *socket,
                    const struct bm_backup_disk *disks, size_t n,
                    struct bm_error *err);

enum bm_backup { BM_BACKUP_NONE, BM_BACKUP_OURS, BM_BACKUP_FOREIGN };
/* Ours: the one on that socket. */
int bm_backup_look(struct bm_domain *domain, const char *socket,
                   enum bm_backup *out, struct bm_error *err);
/* Ends it, if it is ours (libvirt would end any job of the domain). None is
 * fine; -EBUSY: somebody else's. */
int bm_backup_end(struct bm_domain *domain, const char *socket,
                  struct bm_error *err);

#endif
