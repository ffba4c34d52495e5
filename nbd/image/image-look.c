// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A look at a file that may lie on a store without its server.
 */
#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img-private.h"
#include "nbd/thread/timed-call.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A store that does not answer by then is left to qemu-img and its limit. */
#define LOOK_MS 3000

struct call {
    char *path;
    size_t want;
    struct bm_image_look look;
    bool found;
};

static void call_free(void *opaque)
{
    struct call *call = opaque;

    free(call->path);
    free(call);
}

/* Of other things reading may do harm. */
static bool can_read(const struct stat *st)
{
    return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode);
}

/* Opened, as over NFS only that asks the server what the file is now. */
static void look_at(void *opaque)
{
    struct call *call = opaque;
    BM_CLOSE int fd = open(call->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = 0;

    if (fd < 0 || fstat(fd, &call->look.st) != 0)
        return;
    if (call->want && !can_read(&call->look.st))
        return;
    if (call->want)
        n = pread(fd, call->look.head, call->want, 0);
    call->found = n >= 0;
    call->look.n = n > 0 ? (size_t)n : 0;
}

bool bm_image_look_at(const char *path, size_t want, struct bm_image_look *out)
{
    struct call *call = calloc(1, sizeof *call);
    bool found;
    int rc;

    if (!call || !(call->path = strdup(path)))
        return free(call), false;
    call->want = want < sizeof out->head ? want : sizeof out->head;
    rc = bm_timed_call(LOOK_MS, look_at, call, call_free);
    if (rc == -ETIMEDOUT)
        return false; /* call is gone */
    found = !rc && call->found;
    *out = call->look;
    call_free(call);
    return found;
}
