// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/datastore/datastore.h"

#include "blockmig/datastore/liveness.h"
#include "blockmig/datastore/datastore-blkid.h"
#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/xml.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <libvirt/virterror.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

static void free_pool(virStoragePoolPtr *pool)
{
    if (*pool)
        virStoragePoolFree(*pool);
}

static void free_store(struct bm_datastore **store)
{
    bm_datastore_free(*store);
}

void bm_datastore_free(struct bm_datastore *store)
{
    if (!store)
        return;
    free(store->name);
    free(store->path);
    free(store->pool);
    free(store->pool_type);
    free(store->fs_type);
    free(store->fs_uuid);
    free(store->fs_label);
    free(store->device_path);
    free(store->signature);
    free(store);
}

const char *bm_datastore_kind_name(enum bm_datastore_kind kind)
{
    switch (kind) {
    case BM_DATASTORE_DIR:
        return "dir";
    case BM_DATASTORE_POOL:
        return "pool";
    case BM_DATASTORE_BLOCK:
        return "block";
    }
    return "unknown";
}

/* Refused before anything was touched. */
static int refuse(struct bm_error *err, int code, const char *name,
                  const char *why, const char *remedy)
{
    bm_fail(err, code, "cannot use the datastore %s", name);
    bm_cause(err, "%s", why);
    bm_remedy(err, "%s", remedy);
    bm_status(err, BM_EXIT_REFUSED);
    return -code;
}

static int refuse_errno(struct bm_error *err, int code, const char *name)
{
    return refuse(err, code, name, strerror(code), "");
}

static int measure_folder(struct bm_datastore *store, struct bm_error *err)
{
    struct statvfs fs;

    if (statvfs(store->path, &fs) != 0)
        return refuse_errno(err, errno, store->name);
    store->capacity = (uint64_t)fs.f_blocks * fs.f_frsize;
    store->available = (uint64_t)fs.f_bavail * fs.f_frsize;
    return 0;
}

/* Who may not open a device can still read its size in /sys. */
static uint64_t size_in_sysfs(dev_t device)
{
    char path[64];
    unsigned long long sectors = 0;
    BM_FCLOSE FILE *file = NULL;

    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/size", major(device),
             minor(device));
    file = fopen(path, "re");
    if (!file || fscanf(file, "%llu", &sectors) != 1)
        return 0;
    return sectors * 512;
}

static int measure_device(struct bm_datastore *store, struct bm_error *err)
{
    BM_CLOSE int fd = open(store->path, O_RDONLY | O_CLOEXEC);
    blkid_loff_t size = fd >= 0 ? blkid_get_dev_size(fd) : 0;

    store->capacity = size > 0 ? (uint64_t)size : size_in_sysfs(store->device);
    store->available = store->capacity;
    if (store->capacity == 0)
        return refuse(err, ENXIO, store->name, "it has no size", "");
    return fd >= 0 ? bm_datastore_signature(store->path, &store->signature, err)
                   : 0;
}

/* All that is known of store->path, whoever named it. */
static int examine(struct bm_datastore *store, struct bm_error *err)
{
    struct stat st;
    bool block;
    int rc;

    if (stat(store->path, &st) != 0)
        return refuse_errno(err, errno, store->name);
    block = S_ISBLK(st.st_mode);
    if (!S_ISDIR(st.st_mode) && (!block || store->kind == BM_DATASTORE_POOL))
        return refuse(err, ENOTDIR, store->name,
                      "it is neither a folder nor a block device",
                      "name the folder that holds the images");
    if (block)
        store->kind = BM_DATASTORE_BLOCK;
    store->device = block ? st.st_rdev : st.st_dev;
    store->writable = access(store->path, block ? W_OK : W_OK | X_OK) == 0;
    rc = block ? measure_device(store, err) : measure_folder(store, err);
    if (rc == 0 && bm_datastore_identify(store) != 0)
        rc = refuse_errno(err, ENOMEM, store->name);
    return rc;
}

static int open_path(struct bm_datastore *store, struct bm_error *err)
{
    int rc = bm_store_is_alive_early(store->name, err);

    if (rc)
        return rc;
    store->path = realpath(store->name, NULL);
    if (!store->path)
        return refuse(err, errno, store->name, strerror(errno),
                      errno == ENOENT ? "name a folder, a block device or "
                                        "an active libvirt pool"
                                      : "");
    return examine(store, err);
}

static int read_pool_xml(struct bm_datastore *store, virStoragePoolPtr pool,
                         char **target)
{
    BM_FREE char *text = virStoragePoolGetXMLDesc(pool, 0);
    BM_XMLDOC xmlDocPtr doc = text ? bm_xml_parse(text) : NULL;
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;
    xmlNodePtr node = root ? bm_xml_child(root, "target") : NULL;

    node = node ? bm_xml_child(node, "path") : NULL;
    store->pool = strdup(virStoragePoolGetName(pool));
    store->pool_type = root ? bm_xml_attr(root, "type") : NULL;
    *target = node ? bm_xml_text(node) : NULL;
    return store->pool && store->pool_type ? 0 : -EBADMSG;
}

static bool holds_files(const char *pool_type)
{
    static const char *const types[] = {"dir", "fs", "netfs"};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(pool_type, types[i]) == 0)
            return true;
    return false;
}

static int open_pool(struct bm_datastore *store, virStoragePoolPtr pool,
                     struct bm_error *err)
{
    BM_FREE char *target = NULL;
    char why[128];
    int rc;

    if (virStoragePoolIsActive(pool) != 1)
        return refuse(err, ENOTCONN, store->name, "the pool is not active",
                      "start it with `virsh pool-start`");
    if (read_pool_xml(store, pool, &target) != 0)
        return refuse(err, EIO, store->name, "libvirt does not describe it",
                      virGetLastErrorMessage());
    if (!holds_files(store->pool_type) || !target) {
        snprintf(why, sizeof why, "a pool of type %s does not hold files",
                 store->pool_type);
        return refuse(err, EOPNOTSUPP, store->name, why,
                      "use a pool of type dir, fs or netfs, or name a volume "
                      "by its path");
    }
    store->kind = BM_DATASTORE_POOL;
    rc = bm_store_is_alive_early(target, err);
    if (rc)
        return rc;
    store->path = realpath(target, NULL);
    if (!store->path)
        return refuse_errno(err, errno, store->name);
    return examine(store, err);
}

static bool looks_like_path(const char *name)
{
    return strchr(name, '/') || strcmp(name, ".") == 0 ||
           strcmp(name, "..") == 0;
}

static int open_any(struct bm_connection *conn, struct bm_datastore *store,
                    struct bm_error *err)
{
    __attribute__((cleanup(free_pool))) virStoragePoolPtr pool = NULL;
    virErrorPtr why;

    if (!conn || looks_like_path(store->name))
        return open_path(store, err);
    pool = virStoragePoolLookupByName(bm_connection_handle(conn), store->name);
    if (pool)
        return open_pool(store, pool, err);
    why = virGetLastError();
    /* A libvirt without pools is no trouble, one that fails is: the name
     * might mean another place next time. */
    if (why && why->code != VIR_ERR_NO_STORAGE_POOL &&
        why->code != VIR_ERR_NO_SUPPORT && why->code != VIR_ERR_NO_CONNECT)
        return refuse(err, EIO, store->name, why->message, "");
    return open_path(store, err);
}

int bm_datastore_open(struct bm_connection *conn, const char *name,
                      struct bm_datastore **out, struct bm_error *err)
{
    __attribute__((cleanup(free_store))) struct bm_datastore *store =
        calloc(1, sizeof *store);
    int rc;

    if (store)
        store->name = strdup(name);
    if (!store || !store->name)
        return refuse_errno(err, ENOMEM, name);
    rc = open_any(conn, store, err);
    if (rc == 0)
        *out = BM_STEAL(store);
    return rc;
}
