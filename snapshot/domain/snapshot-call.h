// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The one call of libvirt that makes a snapshot, or defines its metadata.
 */
#ifndef BM_SNAPSHOT_DOMAIN_SNAPSHOT_CALL_H
#define BM_SNAPSHOT_DOMAIN_SNAPSHOT_CALL_H

#include "snapshot/domain/domain.h"

/* virDomainSnapshotCreateXML, that can be abandoned at its deadline. Takes xml;
 * NULL: out of memory. what: what cannot be done, for an error. */
int bm_snapshot_make(struct bm_domain *domain, const char *what, char *xml,
                     unsigned flags, int timeout_ms, struct bm_error *err);

#endif
