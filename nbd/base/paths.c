// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/base/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool bm_paths_have(const struct bm_paths *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++)
        if (!strcmp(names->all[i], name))
            return true;
    return false;
}

int bm_paths_add(struct bm_paths *names, const char *name)
{
    char **all = realloc(names->all, (names->n + 1) * sizeof *all);

    if (!all)
        return -ENOMEM;
    names->all = all;
    all[names->n] = strdup(name);
    return all[names->n] ? (names->n++, 0) : -ENOMEM;
}

void bm_paths_clear(struct bm_paths *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->all[i]);
    free(names->all);
    *names = (struct bm_paths){0};
}

bool bm_same_file(const char *a, const char *b)
{
    struct stat sa, sb;

    return strcmp(a, b) == 0 ||
           (stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
            sa.st_ino == sb.st_ino);
}

uint64_t bm_file_id(const char *path)
{
    struct statx it;
    uint64_t born = 0;

    if (statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &it) != 0)
        return 0;
    if (it.stx_mask & STATX_BTIME)
        born =
            (uint64_t)it.stx_btime.tv_sec * 1000000000 + it.stx_btime.tv_nsec;
    return it.stx_ino + born * 1000003;
}
