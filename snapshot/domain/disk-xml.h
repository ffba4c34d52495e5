// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Chains written as libvirt's disk XML. Always with explicit formats and an
 * explicit end, so that libvirt never probes (docs/pitfalls.md P15).
 */
#ifndef BM_SNAPSHOT_DOMAIN_DISK_XML_H
#define BM_SNAPSHOT_DOMAIN_DISK_XML_H

#include "snapshot/domain/chain.h"

/* The destination of a blockcopy: <disk> with the chain. Caller frees. */
char *bm_disk_xml_copy_target(const struct bm_chain *chain);

/* <source file='…'/> or <source dev='…'/>, and the type, of a <disk> or a
 * <backingStore>. startupPolicy and <seclabel> stay, as they are the user's. */
void bm_disk_xml_set_source(xmlNodePtr element, const struct bm_layer *layer);

/* Replaces the source, format and backing chain of a <disk>; the guest's
 * side of it (target, address, alias, serial, cache, ...) stays, and of the
 * source what bm_disk_xml_set_source keeps. */
void bm_disk_xml_replace(xmlNodePtr disk, const struct bm_chain *chain);

#endif
