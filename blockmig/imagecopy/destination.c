// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/imagecopy/destination.h"

#include "blockmig/job/job-store.h"
#include "nbd/exec/run-program.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/fsync.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define CREATE_MS 30000

void bm_destination_clear(struct bm_destination *destination)
{
    if (destination->old >= 0)
        (void)close(destination->old);
    if (destination->claim >= 0)
        (void)close(destination->claim);
    free(destination->name);
    free(destination->part);
    free(destination->state);
    free(destination->spool);
    memset(destination, 0, sizeof *destination);
    destination->old = destination->claim = -1;
}

static int make_raw(const char *path, uint64_t size, struct bm_error *err)
{
    BM_CLOSE int fd =
        open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);

    if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
        return bm_fail_errno(err, errno, "cannot make %s", path);
    return 0;
}

int bm_destination_make(const struct bm_destination *l, const char *state_dir,
                        uint64_t size, struct bm_error *err)
{
    char bytes[32];
    const char *argv[] = {"qemu-img", "create", "-q",  "-f",
                          l->format,  l->part,  bytes, NULL};

    if (l->kind != BM_DESTINATION_FILE)
        return bm_state_dir_make(state_dir, err);
    if (unlink(l->part) != 0 && errno != ENOENT)
        return bm_fail_errno(err, errno, "cannot remove %s", l->part);
    if (strcmp(l->format, "raw") == 0)
        return make_raw(l->part, size, err);
    /* QEMU counts sectors */
    snprintf(bytes, sizeof bytes, "%" PRIu64, (size + 511) / 512 * 512);
    return bm_child_run(argv, CREATE_MS, NULL, NULL, NULL, NULL, err);
}

int bm_destination_extend(const struct bm_destination *l, uint64_t size,
                          struct bm_error *err)
{
    struct stat st;

    if (l->kind != BM_DESTINATION_FILE || strcmp(l->format, "raw") != 0)
        return 0;
    if (stat(l->part, &st) != 0 ||
        ((uint64_t)st.st_size < size && truncate(l->part, (off_t)size) != 0))
        return bm_fail_errno(err, errno, "cannot go on with %s", l->part);
    return 0;
}

/* A byte that no QEMU locks: QEMU's are 100 to 203 and this. */
#define CLAIM 300

int bm_destination_claim(struct bm_destination *l, struct bm_error *err)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = CLAIM, .l_len = 1};

    if (l->kind == BM_DESTINATION_SERVER || l->kind == BM_DESTINATION_DEVICE)
        return 0;
    if (l->claim >= 0)
        (void)close(l->claim);
    l->claim = open(l->part, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (l->claim < 0)
        return errno == ENOENT
                   ? 0
                   : bm_fail_errno(err, errno, "cannot open %s", l->part);
    if (fcntl(l->claim, F_OFD_SETLK, &lock) == 0)
        return 0;
    bm_fail(err, EBUSY, "cannot copy to %s", l->name);
    bm_cause(err, "another copy to it is running");
    return bm_status(err, BM_EXIT_REFUSED);
}

/* The claim is on the file that has the name now, not on one before it. */
static int still_ours(const struct bm_destination *l, struct bm_error *err)
{
    struct stat held, named;

    if (fstat(l->claim, &held) == 0 && stat(l->part, &named) == 0 &&
        held.st_dev == named.st_dev && held.st_ino == named.st_ino)
        return 0;
    bm_fail(err, ESTALE, "cannot give %s its name", l->name);
    return bm_cause(err, "someone has replaced %s", l->part), -ESTALE;
}

int bm_destination_adopt(struct bm_destination *l, struct bm_error *err)
{
    if (rename(l->name, l->part) != 0)
        return bm_fail_errno(err, errno, "cannot rename %s to %s", l->name,
                             l->part);
    /* its lock would be in the way of our own */
    (void)close(l->old);
    l->old = -1;
    return bm_fsync_folder_of(l->part, err);
}

int bm_destination_forget(const struct bm_destination *l, struct bm_error *err)
{
    if (unlink(l->state) == 0)
        return bm_fsync_folder_of(l->state, err);
    return errno == ENOENT
               ? 0
               : bm_fail_errno(err, errno, "cannot remove %s", l->state);
}

bool bm_destination_exists(const struct bm_destination *l)
{
    return l->kind != BM_DESTINATION_FILE || access(l->part, F_OK) == 0;
}

int bm_destination_write(const struct bm_destination *l,
                         const struct bm_image_copy *t, bool fresh,
                         struct bm_device **out, struct bm_error *err)
{
    struct bm_open how = {.format = l->format,
                          .queues = bm_device_lanes(),
                          .write = true,
                          .zeroed = fresh && l->kind == BM_DESTINATION_FILE,
                          .direct = t->direct,
                          .keep = t->verify_cached,
                          .tls_certificates = t->tls_certificates,
                          .tls_psk = t->tls_psk};

    return bm_device_open(l->part, &how, out, err);
}

int bm_destination_read(const struct bm_destination *l,
                        const struct bm_image_copy *t, struct bm_device **out,
                        struct bm_error *err)
{
    struct bm_open how = {.format = l->format,
                          .queues = bm_device_lanes(),
                          .share = true,
                          .direct = !t->verify_cached,
                          .tls_certificates = t->tls_certificates,
                          .tls_psk = t->tls_psk};
    int rc = bm_device_open(l->part, &how, out, err);

    if (rc != -EINVAL || !how.direct)
        return rc;
    how.direct = false; /* no O_DIRECT there: the proof will say "cache" */
    return bm_device_open(l->part, &how, out, err);
}

static int give_name(const struct bm_destination *l, bool force)
{
    if (!force &&
        renameat2(AT_FDCWD, l->part, AT_FDCWD, l->name, RENAME_NOREPLACE) == 0)
        return 0;
    /* a file system without that promise: look, and hope for a moment */
    if (!force && (errno != EINVAL || access(l->name, F_OK) == 0))
        return errno == EINVAL ? -EEXIST : -errno;
    return rename(l->part, l->name) == 0 ? 0 : -errno;
}

int bm_destination_land(const struct bm_destination *l, bool force,
                        struct bm_error *err)
{
    int rc = l->kind == BM_DESTINATION_FILE ? still_ours(l, err) : 0;

    if (rc == 0 && l->kind == BM_DESTINATION_FILE) {
        rc = give_name(l, force);
        if (rc)
            return bm_fail_errno(err, -rc, "cannot rename %s to %s", l->part,
                                 l->name);
        rc = bm_fsync_folder_of(l->name, err);
    }
    if (rc == 0 && ((unlink(l->state) != 0 && errno != ENOENT) ||
                    (unlink(l->spool) != 0 && errno != ENOENT)))
        rc =
            bm_fail_errno(err, errno, "cannot remove the state of %s", l->name);
    return rc;
}
