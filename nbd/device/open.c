// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is opened, and by which kind of device.
 */
#include "nbd/device/backends.h"
#include "nbd/device/device.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool bm_is_nbd_uri(const char *where)
{
    static const char *const schemes[] = {"nbd://", "nbds://", "nbd+unix://",
                                          "nbds+unix://"};

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strncmp(where, schemes[i], strlen(schemes[i])) == 0)
            return true;
    return false;
}

unsigned bm_device_lanes(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (cores < 1)
        return 1;
    return cores < (long)BM_QUEUES_MAX ? (unsigned)cores : BM_QUEUES_MAX;
}

/* Whatever else can be opened (a FIFO) might make open(2) wait for ever. */
static int check_file(const char *path, struct bm_error *err)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return bm_fail_errno(err, errno, "cannot open %s", path);
    if (S_ISDIR(st.st_mode))
        return bm_fail_errno(err, EISDIR, "cannot open %s", path);
    if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
        return 0;
    bm_fail(err, EINVAL, "cannot open %s", path);
    bm_cause(err, "it is neither a file nor a block device");
    return -EINVAL;
}

/* A guest writes what it likes into its disk, a header that names a file of
 * the host as well: what such a name says is followed only if asked for. */
static int check_probed(const char *path, const struct bm_image_info *info,
                        struct bm_error *err)
{
    const char *why = info->backing     ? "names a backing file"
                      : info->data_file ? "names a data file"
                      : info->encrypted ? "is encrypted"
                                        : NULL;

    if (!why)
        return 0;
    bm_fail(err, EINVAL, "cannot open %s", path);
    bm_cause(err, "it looks like %s and %s", info->format, why);
    bm_remedy(err, "give the format with -f if you trust it");
    bm_status(err, BM_EXIT_REFUSED);
    return -EINVAL;
}

static int open_format(const char *path, const struct bm_open *how,
                       struct bm_device **out, struct bm_error *err)
{
    return strcmp(how->format, "raw") == 0
               ? bm_device_file_open(path, how, out, err)
               : bm_device_qemu_open(path, how, out, err);
}

static int open_probed(const char *path, const struct bm_open *how,
                       struct bm_device **out, struct bm_error *err)
{
    struct bm_open probed = *how;
    struct bm_image_info info;
    int rc = bm_image_read_info(path, NULL, &info, err);

    if (rc != 0)
        return rc;
    probed.format = info.format;
    rc = check_probed(path, &info, err);
    if (rc == 0)
        rc = open_format(path, &probed, out, err);
    bm_image_info_clear(&info);
    return rc;
}

int bm_device_open(const char *where, const struct bm_open *how,
                   struct bm_device **out, struct bm_error *err)
{
    int rc;

    if (bm_is_nbd_uri(where))
        return bm_device_nbd_open(where, how, out, err);
    rc = check_file(where, err);
    if (rc != 0)
        return rc;
    return how->format ? open_format(where, how, out, err)
                       : open_probed(where, how, out, err);
}
