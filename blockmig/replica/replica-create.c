// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The new image, empty, in its size and format: made as the old one was.
 */
#include "blockmig/replica/replica-private.h"
#include "nbd/exec/run-program.h"
#include "nbd/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define CREATE_MS 30000

static int make_raw(const struct bm_replica *replica, struct bm_error *err)
{
    const char *path = replica->how->image->path;
    BM_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 || ftruncate(fd, 0) != 0 ||
        ftruncate(fd, (off_t)replica->how->size) != 0)
        return bm_fail_errno(err, errno, "cannot make %s", path);
    /* preallocated, where the file system can: the rest is written anyway */
    if (replica->how->create && replica->how->size)
        (void)fallocate(fd, 0, 0, (off_t)replica->how->size);
    return 0;
}

/* Where the file system has no such call, glibc would write every block, and
 * so would qemu-img. */
static bool can_preallocate(const char *path)
{
    BM_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd >= 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1) == 0;
}

/* How qemu-img is to make it: its options. Caller frees. */
static char *create_options(const struct bm_replica_how *how)
{
    char *options = strdup(how->create), *found;

    found = options ? strstr(options, "," BM_REPLICA_PREALLOCATED) : NULL;
    if (found && !can_preallocate(how->image->path))
        *found = '\0'; /* always the last one */
    return options;
}

/* How the header names the backing file. Caller frees. */
static char *link_to(const struct bm_replica_how *how)
{
    const char *slash = strrchr(how->below->path, '/');

    return how->relative && slash ? strdup(slash + 1)
                                  : bm_chain_backing_name(how->below);
}

/* The chain below is not opened (-u): its size and format are known. */
static int make_format(const struct bm_replica_how *how, struct bm_error *err)
{
    BM_FREE char *options = how->create ? create_options(how) : NULL;
    BM_FREE char *backing = how->below ? link_to(how) : NULL;
    const char *argv[16] = {"qemu-img", "create", "-q",
                            "-u",       "-f",     how->image->format};
    char bytes[32];
    int n = 6;

    if ((how->create && !options) || (how->below && !backing))
        return bm_fail_errno(err, ENOMEM, "cannot make %s", how->image->path);
    if (options) {
        argv[n++] = "-o";
        argv[n++] = options;
    }
    if (how->below) {
        argv[n++] = "-b";
        argv[n++] = backing;
        argv[n++] = "-F";
        argv[n++] = how->below->format;
    }
    snprintf(bytes, sizeof bytes, "%" PRIu64, how->size);
    argv[n++] = how->image->path;
    argv[n] = bytes;
    return bm_child_run(argv, CREATE_MS, NULL, NULL, NULL, NULL, err);
}

int bm_replica_make(const struct bm_replica *replica, struct bm_error *err)
{
    const struct bm_layer *image = replica->how->image;

    if (strcmp(image->format, "raw") != 0)
        return make_format(replica->how, err);
    return image->type == BM_SOURCE_BLOCK ? 0 : make_raw(replica, err);
}
