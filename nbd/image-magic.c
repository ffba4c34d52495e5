// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which files qemu-img need not be asked what they stand on. In a folder of
 * hundreds of raw disks and ISO images each qemu-img would take 5 ms, to find
 * nothing.
 */
#include "nbd/cleanup.h"
#include "nbd/image-parts.h"
#include "nbd/within.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A store that does not answer by then is left to qemu-img and its limit. */
#define LOOK_MS 3000
#define MAGIC 4

struct look {
    char *path;
    bool plain;
};

static void look_free(void *opaque)
{
    struct look *look = opaque;

    free(look->path);
    free(look);
}

/* QEMU knows four formats whose headers name a backing file: qcow and qcow2,
 * qed, vmdk. A descriptor of vmdk is a text, of comments, blank lines, and then
 * "version=" (qemu, block/vmdk.c). */
static bool may_name(const char *head, size_t n)
{
    static const char magics[][MAGIC] = {
        {'Q', 'F', 'I', '\xfb'},
        {'Q', 'E', 'D', '\0'},
        {'K', 'D', 'M', 'V'},
        {'C', 'O', 'W', 'D'},
    };

    for (size_t i = 0; n == MAGIC && i < sizeof magics / sizeof *magics; i++)
        if (memcmp(head, magics[i], MAGIC) == 0)
            return true;
    return n && head[0] && strchr("# \r\nv", head[0]);
}

static void look_at(void *opaque)
{
    struct look *look = opaque;
    BM_CLOSE int fd = open(look->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char head[MAGIC];
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) != 0 ||
        (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)))
        return;
    n = pread(fd, head, sizeof head, 0);
    look->plain = n >= 0 && !may_name(head, (size_t)n);
}

bool bm_image_names_none(const char *path)
{
    struct look *look = calloc(1, sizeof *look);
    bool plain;

    if (!look || !(look->path = strdup(path)))
        return free(look), false;
    /* what was left behind frees itself */
    if (bm_within(LOOK_MS, look_at, look, look_free) == -ETIMEDOUT)
        return false;
    plain = look->plain;
    look_free(look);
    return plain;
}
