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

/* The header of qcow2, docs/interop/qcow2.txt of QEMU: big-endian. That of qcow
 * has the first two in the same place. */
#define BACKING_OFFSET 8 /* where the name of the backing file is; 0: none */
#define VERSION_AT 7     /* the last byte of the version */
#define FEATURES_AT 79   /* the last byte of the incompatible features */
#define DATA_FILE 0x04   /* the data is in a file of its own */
#define QCOW_HEAD 80

/* A qcow2 or qcow that stands on nothing, and has all of its data itself. */
static bool is_alone(const char *head, size_t n)
{
    static const char none[8];

    return n == QCOW_HEAD && memcmp(head, "QFI\xfb", MAGIC) == 0 &&
           memcmp(head + BACKING_OFFSET, none, sizeof none) == 0 &&
           (head[VERSION_AT] < 3 || !(head[FEATURES_AT] & DATA_FILE));
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

    for (size_t i = 0; n >= MAGIC && i < sizeof magics / sizeof *magics; i++)
        if (memcmp(head, magics[i], MAGIC) == 0)
            return true;
    return n && head[0] && strchr("# \r\nv", head[0]);
}

bool bm_image_names_none(const char *path, const char *format)
{
    struct bm_image_look look;

    if (format && strcmp(format, "qcow2") != 0)
        return strcmp(format, "raw") == 0;
    if (!bm_image_look_at(path, QCOW_HEAD, &look))
        return false;
    return is_alone(look.head, look.n) ||
           (!format && !may_name(look.head, look.n));
}
