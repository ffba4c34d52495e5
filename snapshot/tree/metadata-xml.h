// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Snapshot metadata as text: <domainsnapshot>, with the disks' overlays and the
 * XML of the domain as it was (<domain>, <inactiveDomain>). No libvirt here.
 */
#ifndef BM_SNAPSHOT_TREE_METADATA_XML_H
#define BM_SNAPSHOT_TREE_METADATA_XML_H

#include "snapshot/domain/chain.h"

#include <stdbool.h>

/* An image that was moved: whatever names `from` is to name `to`. Of an overlay
 * that is gone, what it stood on takes its place; `to` does if the XML does not
 * say what that was. */
struct bm_image_moved {
    const char *from;
    const struct bm_layer *to;
    bool overlay;
};

/*
 * The same with the images replaced wherever they are named: path, type and
 * format, also of layers in chains; and without our stamp. *out is malloc'd;
 * NULL: none of it is there, so nothing is to be done. -EBADMSG: no XML;
 * -ENOMEM.
 */
int bm_snapshot_xml_replace(const char *xml, const struct bm_image_moved *moved,
                            size_t n, char **out);

/* The same without the guest's memory. As above. */
int bm_snapshot_xml_forget_memory(const char *xml, char **out);

/* Takes our stamp off a <domain>: whether there was one. */
bool bm_xml_take_stamp_off(xmlNodePtr domain);

/*
 * The same with names for its overlays that no file has. libvirt 9.0 rewrites,
 * when it forgets a snapshot, those that descend from it: where they name its
 * overlay they name what that stood on, as if it had been merged, also when
 * only metadata is to go. So it finds nothing. *out is malloc'd. -EBADMSG,
 * -ENOMEM.
 */
int bm_snapshot_xml_hide(const char *xml, char **out);

/* Calls fn for each disk of the snapshot: how ("no", "internal", "external")
 * and, of an external one, its overlay (else NULL). Non-zero from fn stops. */
typedef int (*bm_snapshot_disk)(void *opaque, const char *disk, const char *how,
                                const char *overlay);
int bm_snapshot_xml_disks(const char *xml, bm_snapshot_disk fn, void *opaque);
/* Where an external snapshot has put the guest's memory, or NULL. Caller
 * frees. */
char *bm_snapshot_xml_memory(const char *xml);

#endif
