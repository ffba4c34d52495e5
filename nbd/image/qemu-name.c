// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/image/qemu-img-private.h"

#include <stdio.h>
#include <string.h>

char *bm_image_plain_name(const char *path)
{
    char *name;

    if (path[0] == '/')
        return strdup(path);
    return asprintf(&name, "./%s", path) < 0 ? NULL : name;
}
