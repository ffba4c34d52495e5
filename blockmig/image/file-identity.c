// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/file-identity.h"

#include "nbd/base/cleanup.h"
#include "nbd/device/device.h"
#include "nbd/image/qemu-img.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Writes and discards that were ever completed (the kernel's
 * Documentation/block/stat.rst); what cannot be read counts as none. */
static void put_writes(FILE *out, dev_t dev)
{
    unsigned long long n[12] = {0};
    char path[64];
    FILE *in;

    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/stat", major(dev),
             minor(dev));
    in = fopen(path, "re");
    for (int i = 0; in && i < 12 && fscanf(in, "%llu", &n[i]) == 1; i++)
        ;
    if (in)
        (void)fclose(in);
    fprintf(out, " writes %llu discards %llu", n[4], n[11]);
}

/* The same numbers may be given to another disk later. */
static void put_sequence(FILE *out, dev_t dev)
{
    unsigned long long n = 0;
    char path[64];
    FILE *in;

    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/diskseq", major(dev),
             minor(dev));
    in = fopen(path, "re");
    if (in && fscanf(in, "%llu", &n) == 1)
        fprintf(out, " sequence %llu", n);
    if (in)
        (void)fclose(in);
}

static int put_layer(void *opaque, unsigned depth, const char *layer,
                     struct bm_error *err)
{
    FILE *out = opaque;
    struct stat st;

    if (depth)
        fputs("; ", out);
    if (stat(layer, &st) != 0)
        return bm_fail_errno(err, errno, "cannot examine %s", layer);
    if (S_ISBLK(st.st_mode)) {
        fprintf(out, "device %u:%u", major(st.st_rdev), minor(st.st_rdev));
        put_sequence(out, st.st_rdev);
        put_writes(out, st.st_rdev);
    } else {
        fprintf(out, "file %ju:%ju size %jd time %jd.%09ld",
                (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
                (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec,
                st.st_mtim.tv_nsec);
    }
    return 0;
}

char *bm_identity_of_content(const char *where, const char *format,
                             uint64_t size, struct bm_error *err)
{
    BM_FREE char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    int rc = 0;

    if (!out) {
        bm_fail_errno(err, ENOMEM, "cannot examine %s", where);
        return NULL;
    }
    if (bm_is_nbd_uri(where))
        fputs("server", out);
    else
        rc = bm_image_walk(where, format, put_layer, out, err);
    fprintf(out, " of %" PRIu64, size);
    if (fclose(out) != 0 && rc == 0)
        rc = bm_fail_errno(err, ENOMEM, "cannot examine %s", where);
    return rc ? NULL : BM_STEAL(text);
}

char *bm_identity_of_file(const char *path, struct bm_error *err)
{
    BM_FREE char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    int rc = out ? put_layer(out, 0, path, err) : 0;

    if ((!out || fclose(out) != 0) && rc == 0)
        rc = bm_fail_errno(err, ENOMEM, "cannot examine %s", path);
    return rc ? NULL : BM_STEAL(text);
}

static long long birth(const char *path)
{
    struct statx x;

    if (statx(AT_FDCWD, path, 0, STATX_BTIME, &x) != 0 ||
        !(x.stx_mask & STATX_BTIME))
        return 0;
    return x.stx_btime.tv_sec * 1000000000LL + x.stx_btime.tv_nsec;
}

char *bm_identity_of_place(const char *where, uint64_t size,
                           struct bm_error *err)
{
    bool server = bm_is_nbd_uri(where);
    struct stat st;
    char *text;
    int n;

    if (!server && stat(where, &st) != 0) {
        bm_fail_errno(err, errno, "cannot examine %s", where);
        return NULL;
    }
    if (server)
        n = asprintf(&text, "server of %" PRIu64, size);
    else if (S_ISBLK(st.st_mode))
        n = asprintf(&text, "device %u:%u of %" PRIu64, major(st.st_rdev),
                     minor(st.st_rdev), size);
    else
        n = asprintf(&text, "file %ju:%ju born %lld", (uintmax_t)st.st_dev,
                     (uintmax_t)st.st_ino, birth(where));
    if (n >= 0)
        return text;
    bm_fail_errno(err, ENOMEM, "cannot examine %s", where);
    return NULL;
}
