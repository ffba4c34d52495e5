// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The file system under a folder, or on a device, as libblkid and the mount
 * table know it. Internal to store.
 */
#ifndef BM_DATASTORE_DATASTORE_BLKID_H
#define BM_DATASTORE_DATASTORE_BLKID_H

#include "blockmig/datastore/datastore.h"

/* Fills fs_type, fs_uuid, fs_label and device_path from store->device, as
 * far as they can be known; a network file system has but a type and a
 * source. 0 or -ENOMEM. */
int bm_datastore_identify(struct bm_datastore *store);

#endif
