// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which files qemu-img need not be asked what they stand on. In a folder of
 * hundreds of raw disks and ISO images each qemu-img would take 5 ms, to find
 * nothing.
 */
#include "nbd/image/qemu-img-private.h"

#include <string.h>

#define MAGIC 4

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

bool bm_image_names_none(const char *path)
{
    struct bm_image_look look;

    return bm_image_look_at(path, MAGIC, &look) && !may_name(look.head, look.n);
}
