// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An image that is looked for under whatever name: in XML, and in what the
 * headers of other images say of their backing files.
 */
#ifndef BM_IMAGE_IMAGE_MATCH_H
#define BM_IMAGE_IMAGE_MATCH_H

#include "nbd/base/paths.h"

#include <stdbool.h>
#include <sys/stat.h>

struct bm_image_match {
    const char *path; /* borrowed */
    struct stat id;
    bool exists;
};

void bm_image_match_init(struct bm_image_match *match, const char *path);
/* Whether that path is the image: by name, or the same file. */
bool bm_image_match_is(const struct bm_image_match *match, const char *path);

/* Calls fn for each backing file below that image, by the headers, until it
 * returns other than 0, which is returned; 0 at the chain's end, or where a
 * file is not there or over a network. -EIO: one is there, and cannot be
 * followed; -ENOMEM. seen,
 * unless NULL: those that fn was called for in an earlier walk are not walked
 * again. */
int bm_image_match_below(const char *file, struct bm_paths *seen,
                         int (*fn)(void *opaque, const char *backing),
                         void *opaque);

#endif
