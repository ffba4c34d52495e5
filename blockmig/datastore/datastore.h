// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A datastore: a directory, a libvirt pool by name, or a block device; its
 * room, and the identity of its file system and device by libblkid.
 */
#ifndef BM_DATASTORE_DATASTORE_H
#define BM_DATASTORE_DATASTORE_H

#include "snapshot/libvirt/connection.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum bm_datastore_kind {
    BM_DATASTORE_DIR,
    BM_DATASTORE_POOL,
    BM_DATASTORE_BLOCK
};

struct bm_datastore {
    enum bm_datastore_kind kind;
    char *name;      /* as the user gave it */
    char *path;      /* the folder (real path), or the device */
    char *pool;      /* the pool's name, NULL otherwise */
    char *pool_type; /* dir, fs, netfs, logical, ...; NULL otherwise */
    uint64_t capacity, available; /* bytes; block: the device's size */
    bool writable;                /* by us, as access(2) says */
    dev_t device; /* of the folder's file system, or the device itself */
    /* libblkid, of the file system under the folder or of the device */
    char *fs_type; /* ext4, xfs, nfs4, ...; block: what lives on it */
    char *fs_uuid, *fs_label, *device_path;
    /* block devices: the signature that would be overwritten, in words, e.g.
     * "ext4 file system", "GPT partition table", "LVM2_member"; or NULL */
    char *signature;
};

/*
 * name: a path (has a slash, or "." or ".."), else a pool of conn, else a
 * path. conn may be NULL: then no pools. Errors have status BM_EXIT_REFUSED
 * and say whether it is unknown, not a folder, inactive, unsupported type.
 */
int bm_datastore_open(struct bm_connection *conn, const char *name,
                      struct bm_datastore **out, struct bm_error *err);
void bm_datastore_free(struct bm_datastore *store); /* accepts NULL */
const char *bm_datastore_kind_name(enum bm_datastore_kind kind);

/* Tries it: makes, writes, fdatasyncs and removes a 1 MiB file (O_DIRECT where
 * it can); fills the times in microseconds. Not for block devices: ENOTSUP. */
struct bm_datastore_probe {
    int64_t create_us, write_us, sync_us;
    bool direct; /* O_DIRECT works */
};
int bm_datastore_try(const struct bm_datastore *store,
                     struct bm_datastore_probe *probe, struct bm_error *err);

/* The signature on a block device or file by blkid_do_safeprobe, in words;
 * *out NULL when there is none. An ambivalent probe is a signature. */
int bm_datastore_signature(const char *path, char **out, struct bm_error *err);

#endif
