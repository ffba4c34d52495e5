// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/image/qemu-img-private.h"
#include "nbd/image/qemu-img.h"

#include <errno.h>
#include <string.h>

int bm_qemu_errno(const char *message)
{
    static const struct {
        const char *text;
        int code;
    } known[] = {
        {"Failed to get ", EBUSY}, /* ... "write" lock */
        {"Is another process using the image", EBUSY},
        {"Device or resource busy", EBUSY},
        {"No such file", ENOENT},
        {"Permission denied", EACCES},
        {"No space left", ENOSPC},
        {"Read-only file system", EROFS},
        {"O_DIRECT", EINVAL},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(message, known[i].text))
            return known[i].code;
    return EIO;
}

int bm_image_refine(int rc, struct bm_error *err)
{
    if (rc == -EIO && err)
        err->code = bm_qemu_errno(err->cause);
    return rc == -EIO && err ? -err->code : rc;
}
