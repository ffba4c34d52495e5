// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The XML of a domain as it is to be after a revert. No libvirt here.
 */
#ifndef BM_SNAPSHOT_TREE_REVERT_XML_H
#define BM_SNAPSHOT_TREE_REVERT_XML_H

#include "snapshot/domain/chain.h"

/* The new chain of a disk. */
struct bm_new_disk {
    const char *target;
    const struct bm_chain *chain;
};

/*
 * The domain of a snapshot's metadata, its live XML or (saved) the one that it
 * would be started with, on these disks; a disk that is not among them is as
 * `now`, the XML of the domain as it is, has it: also (saved) attached since,
 * or detached. In *out, malloc'd. -EBADMSG: no such XML; -ENOMEM.
 */
int bm_revert_xml(const char *snapshot, bool saved, const char *now,
                  const struct bm_new_disk *disks, size_t n, char **out);
/* A disk that was attached or detached since that snapshot: *target, malloc'd;
 * NULL: none was. -EBADMSG: no such XML. */
int bm_revert_changed(const char *snapshot, const char *now, char **target);

#endif
