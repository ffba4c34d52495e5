// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * <source pool= volume=> is a path as well. Calls libvirt: only from inside
 * a bm_call.
 */
#ifndef BM_SNAPSHOT_LIBVIRT_VOLUME_H
#define BM_SNAPSHOT_LIBVIRT_VOLUME_H

#include <libvirt/libvirt.h>
#include <stdbool.h>

/* Caller frees; NULL with libvirt's error set when it cannot be resolved.
 * *block, if given: it is a block device. */
char *bm_volume_path(virConnectPtr conn, const char *pool, const char *volume,
                     bool *block);

/* Rewrites each disk, and each layer of a chain, of type='volume' in a domain's
 * XML to the file or block device that it is. What cannot be resolved stays as
 * it is, and preflight refuses it. *xml is replaced (malloc). -1: not to be
 * parsed. */
int bm_volumes_to_paths(virConnectPtr conn, char **xml);
/* The same in a snapshot's metadata, which holds the XML of domains. */
int bm_snapshot_volumes(virConnectPtr conn, char **xml);

#endif
