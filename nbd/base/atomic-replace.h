// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A file that replaces another one of its name whole, or not at all: written
 * under a temporary name beside it, made durable, then renamed.
 */
#ifndef BM_NBD_BASE_ATOMIC_REPLACE_H
#define BM_NBD_BASE_ATOMIC_REPLACE_H

#include "nbd/base/error.h"

struct bm_atomic_replace {
    int fd; /* mode 0600, at first empty */
    char *path, *temporary;
};

/* By how much the temporary name is longer. */
#define BM_ATOMIC_REPLACE_SUFFIX 7

#define BM_ATOMIC_REPLACE_INIT                                                 \
    {                                                                          \
        -1, NULL, NULL                                                         \
    }

int bm_atomic_replace_begin(const char *path, struct bm_atomic_replace *r,
                            struct bm_error *err);
/* fsync, rename, fsync of the folder; then as bm_atomic_replace_abandon. */
int bm_atomic_replace_commit(struct bm_atomic_replace *r, struct bm_error *err);
/* Removes what was not committed; once is enough, as a cleanup attribute. */
void bm_atomic_replace_abandon(struct bm_atomic_replace *r);

#define BM_ATOMIC_REPLACE __attribute__((cleanup(bm_atomic_replace_abandon)))

#endif
