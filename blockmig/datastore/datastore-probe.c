// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/datastore/datastore.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define TRY_SIZE ((size_t)1 << 20)

static int64_t now_us(void)
{
    return bm_now_ns() / 1000;
}

static int cannot(struct bm_error *err, int code,
                  const struct bm_datastore *store, const char *what)
{
    bm_fail_errno(err, code, "cannot %s in the datastore %s", what,
                  store->name);
    bm_status(err, BM_EXIT_REFUSED);
    return -code;
}

static void remove_file(char **path)
{
    if (*path)
        (void)unlink(*path);
    free(*path);
}

/* Turns O_DIRECT on for an open file, if its file system has it. */
static bool go_direct(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, data + done, len - done, (off_t)done);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -EIO;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Some file systems take O_DIRECT and then refuse the write. */
static int write_somehow(int fd, const char *data, bool *direct)
{
    int rc = write_all(fd, data, TRY_SIZE);

    if (rc != -EINVAL || !*direct)
        return rc;
    *direct = false;
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT) != 0)
        return -errno;
    return write_all(fd, data, TRY_SIZE);
}

int bm_datastore_try(const struct bm_datastore *store,
                     struct bm_datastore_probe *probe, struct bm_error *err)
{
    __attribute__((cleanup(remove_file))) char *path = NULL;
    BM_FREE char *name = NULL, *data = aligned_alloc(4096, TRY_SIZE);
    BM_CLOSE int fd = -1;
    int64_t start = now_us();
    int rc;

    if (store->kind == BM_DATASTORE_BLOCK)
        return cannot(err, ENOTSUP, store, "make a file");
    if (!data || asprintf(&name, "%s/.blockmig-try-XXXXXX", store->path) < 0)
        return cannot(err, ENOMEM, store, "make a file");
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return cannot(err, errno, store, "make a file");
    path = BM_STEAL(name);
    memset(data, 0xb1, TRY_SIZE);
    probe->create_us = now_us() - start;
    probe->direct = go_direct(fd);
    start = now_us();
    rc = write_somehow(fd, data, &probe->direct);
    if (rc != 0)
        return cannot(err, -rc, store, "write");
    probe->write_us = now_us() - start;
    start = now_us();
    if (fdatasync(fd) != 0)
        return cannot(err, errno, store, "sync");
    probe->sync_us = now_us() - start;
    return 0;
}
