// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Names, of files mostly: a set of those that have been seen, and whether two
 * mean the same.
 */
#ifndef BM_NBD_BASE_PATHS_H
#define BM_NBD_BASE_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bm_paths {
    char **all; /* owned */
    size_t n;
};

bool bm_paths_have(const struct bm_paths *names, const char *name);
/* A copy of it. 0 or -ENOMEM. */
int bm_paths_add(struct bm_paths *names, const char *name);
void bm_paths_clear(struct bm_paths *names);

/* Whether both names lead to one file; a name that leads to none is like itself
 * only. */
bool bm_same_file(const char *a, const char *b);
/* A number that another file of that name does not have, also when it got the
 * same inode; 0: there is none. Where the file system keeps no time of birth
 * the inode must do. */
uint64_t bm_file_id(const char *path);

#endif
