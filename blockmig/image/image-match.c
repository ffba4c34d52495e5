// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/image-match.h"

#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img.h"

#include <errno.h>
#include <string.h>

#define MAX_LAYERS 200

void bm_image_match_init(struct bm_image_match *match, const char *path)
{
    match->path = path;
    match->exists = stat(path, &match->id) == 0;
}

bool bm_image_match_is(const struct bm_image_match *match, const char *path)
{
    struct stat st;

    if (!strcmp(path, match->path))
        return true;
    return match->exists && stat(path, &st) == 0 &&
           st.st_dev == match->id.st_dev && st.st_ino == match->id.st_ino;
}

int bm_image_match_below(const char *file, struct bm_paths *seen,
                         int (*fn)(void *opaque, const char *backing),
                         void *opaque)
{
    BM_FREE char *layer = strdup(file);
    int rc = layer ? 0 : -ENOMEM;

    for (int i = 0; layer && !rc && i < MAX_LAYERS; i++) {
        struct bm_error ignored = BM_ERROR_INIT;
        char *next = NULL;

        if (seen && bm_paths_have(seen, layer))
            break;
        rc = seen ? bm_paths_add(seen, layer) : 0;
        if (!rc && bm_image_below(layer, NULL, &next, &ignored))
            rc = ignored.code == ENOMEM ? -ENOMEM : -EIO;
        if (!rc && next)
            rc = fn(opaque, next);
        free(layer);
        layer = next;
    }
    return rc;
}
