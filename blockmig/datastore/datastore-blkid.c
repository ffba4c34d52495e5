// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/datastore/datastore-blkid.h"

#include "nbd/base/cleanup.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

static void free_probe(blkid_probe *probe)
{
    blkid_free_probe(*probe);
}
#define OWN_PROBE __attribute__((cleanup(free_probe)))

static const char *value_of(blkid_probe probe, const char *name)
{
    const char *value;

    return blkid_probe_lookup_value(probe, name, &value, NULL) == 0 ? value
                                                                    : NULL;
}

/* A prober that looks for all that could be lost, on an open descriptor. */
static blkid_probe new_probe(int fd)
{
    OWN_PROBE blkid_probe probe = blkid_new_probe();

    if (!probe || blkid_probe_set_device(probe, fd, 0, 0) != 0 ||
        blkid_probe_enable_superblocks(probe, 1) != 0 ||
        blkid_probe_set_superblocks_flags(
            probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_UUID |
                       BLKID_SUBLKS_LABEL) != 0 ||
        blkid_probe_enable_partitions(probe, 1) != 0)
        return NULL;
    return BM_STEAL(probe);
}

/* A guest's image on a device is none of blkid's signatures. */
static bool is_qcow(int fd)
{
    char magic[4];

    return pread(fd, magic, sizeof magic, 0) == (ssize_t)sizeof magic &&
           memcmp(magic, "QFI\xfb", sizeof magic) == 0;
}

static char *in_words(blkid_probe probe)
{
    const char *type = value_of(probe, "TYPE");
    const char *usage = value_of(probe, "USAGE");
    const char *table = value_of(probe, "PTTYPE");
    char *words;
    int n;

    if (type && usage && strcmp(usage, "filesystem") == 0)
        n = asprintf(&words, "%s file system", type);
    else if (type)
        n = asprintf(&words, "%s", type);
    else if (table && strcmp(table, "gpt") == 0)
        n = asprintf(&words, "GPT partition table");
    else if (table && strcmp(table, "dos") == 0)
        n = asprintf(&words, "MBR partition table");
    else
        n = asprintf(&words, "%s partition table", table ? table : "unknown");
    return n < 0 ? NULL : words;
}

static int cannot_examine(const char *path, int code, struct bm_error *err)
{
    bm_fail_errno(err, code, "cannot examine %s", path);
    bm_status(err, BM_EXIT_REFUSED);
    return -code;
}

/* The words for what a prober found; NULL in *out: nothing. */
static int probe_words(int fd, char **out)
{
    OWN_PROBE blkid_probe probe = new_probe(fd);
    int rc;

    errno = 0;
    rc = probe ? blkid_do_safeprobe(probe) : -1;
    if (rc == -1)
        return errno ? -errno : -EIO;
    if (rc == 1)
        return 0;
    *out = rc == 0 ? in_words(probe) : strdup("several signatures");
    return *out ? 0 : -ENOMEM;
}

int bm_datastore_signature(const char *path, char **out, struct bm_error *err)
{
    BM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = 0;

    if (fd < 0)
        return cannot_examine(path, errno, err);
    *out = NULL;
    if (is_qcow(fd)) {
        *out = strdup("qcow2 image");
        rc = *out ? 0 : -ENOMEM;
    } else if (lseek(fd, 0, SEEK_END) > 0) { /* blkid fails on an empty file */
        rc = probe_words(fd, out);
    }
    return rc == 0 ? 0 : cannot_examine(path, -rc, err);
}

/* A copy into *field, if there is a value and none yet. */
static int keep(char **field, const char *value)
{
    if (*field || !value)
        return 0;
    *field = strdup(value);
    return *field ? 0 : -ENOMEM;
}

static int probe_device(struct bm_datastore *store)
{
    BM_CLOSE int fd = open(store->device_path, O_RDONLY | O_CLOEXEC);
    OWN_PROBE blkid_probe probe = fd >= 0 ? new_probe(fd) : NULL;

    if (!probe || blkid_do_safeprobe(probe) != 0)
        return 0;
    if (keep(&store->fs_type, value_of(probe, "TYPE")) != 0 ||
        keep(&store->fs_uuid, value_of(probe, "UUID")) != 0 ||
        keep(&store->fs_label, value_of(probe, "LABEL")) != 0)
        return -ENOMEM;
    return 0;
}

/* Who may not open the device may still read what root's blkid found. */
static int ask_cache(struct bm_datastore *store)
{
    blkid_cache cache = NULL;

    if (blkid_get_cache(&cache, NULL) != 0)
        return 0;
    if (!store->fs_uuid)
        store->fs_uuid = blkid_get_tag_value(cache, "UUID", store->device_path);
    if (!store->fs_label)
        store->fs_label =
            blkid_get_tag_value(cache, "LABEL", store->device_path);
    if (!store->fs_type)
        store->fs_type = blkid_get_tag_value(cache, "TYPE", store->device_path);
    blkid_put_cache(cache);
    return 0;
}

/* A line of /proc/self/mountinfo, proc(5): "36 35 98:0 /root /mount options
 * tags - type source super". type and source point into line. */
static bool split_mount(char *line, dev_t device, char **type, char **source)
{
    unsigned major, minor;
    char *rest, *save = NULL;

    if (sscanf(line, "%*d %*d %u:%u", &major, &minor) != 2 ||
        makedev(major, minor) != device)
        return false;
    rest = strstr(line, " - ");
    if (!rest)
        return false;
    *type = strtok_r(rest + 3, " \n", &save);
    *source = strtok_r(NULL, " \n", &save);
    return *type && *source;
}

static int ask_mounts(struct bm_datastore *store)
{
    BM_FCLOSE FILE *mounts = fopen("/proc/self/mountinfo", "re");
    BM_FREE char *line = NULL;
    char *type, *source;
    size_t space = 0;

    while (mounts && getline(&line, &space, mounts) > 0)
        if (split_mount(line, store->device, &type, &source)) {
            if (keep(&store->fs_type, type) != 0 ||
                keep(&store->device_path, source) != 0)
                return -ENOMEM;
            return 0;
        }
    return 0;
}

int bm_datastore_identify(struct bm_datastore *store)
{
    int rc = 0;

    if (store->kind == BM_DATASTORE_BLOCK)
        rc = keep(&store->device_path, store->path);
    else if (major(store->device) != 0) /* 0: no device, as tmpfs and NFS */
        store->device_path = blkid_devno_to_devname(store->device);
    if (rc == 0 && store->kind != BM_DATASTORE_BLOCK)
        rc = ask_mounts(store);
    if (rc == 0 && store->device_path && store->device_path[0] == '/')
        rc = probe_device(store);
    if (rc == 0 && store->device_path && store->device_path[0] == '/')
        rc = ask_cache(store);
    return rc;
}
