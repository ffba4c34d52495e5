// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The XML of a domain as it is to be after a revert. No libvirt here.
 */
#ifndef BM_REVERT_XML_H
#define BM_REVERT_XML_H

#include "snapshot/chain.h"

/* The new chain of a disk. */
struct bm_new_disk {
    const char *target;
    const struct bm_chain *chain;
};

/*
 * The domain of a snapshot's metadata, its live XML or (saved) the one that it
 * would be started with, on these disks; a disk that is not among them, and
 * that `now`, the XML of the domain as it is, has too, stays on what it stands
 * on. In *out, malloc'd. -EBADMSG: no such XML; -ENOMEM.
 */
int bm_revert_xml(const char *snapshot, bool saved, const char *now,
                  const struct bm_new_disk *disks, size_t n, char **out);

#endif
