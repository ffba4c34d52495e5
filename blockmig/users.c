// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/users.h"

#include "blockmig/files.h"
#include "nbd/cleanup.h"
#include "nbd/image.h"
#include "nbd/imagelock.h"
#include "snapshot/domain.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct search {
    const char *path;
    const char *except; /* a domain's UUID, or NULL */
    struct stat id;
    bool exists;
    struct bm_error *err;
};

static bool same_image(const struct search *search, const char *path)
{
    struct stat st;

    if (!strcmp(path, search->path))
        return true;
    return search->exists && stat(path, &st) == 0 &&
           st.st_dev == search->id.st_dev && st.st_ino == search->id.st_ino;
}

static int used(const struct search *search, const char *kind, const char *name)
{
    bm_fail(search->err, EBUSY, "%s is still in use", search->path);
    return bm_cause(search->err, "%s %s names it", kind, name), -EBUSY;
}

static int on_user(void *opaque, const char *uuid, const char *name,
                   const char *path)
{
    struct search *search = opaque;

    if (search->except && !strcmp(uuid, search->except))
        return 0;
    return same_image(search, path) ? used(search, "domain", name) : 0;
}

static void search_init(struct search *search, const char *path,
                        const char *except, struct bm_error *err)
{
    memset(search, 0, sizeof *search);
    search->path = path;
    search->except = except;
    search->err = err;
    search->exists = stat(path, &search->id) == 0;
}

int bm_users_other_domains(struct bm_connection *conn, const char *uuid,
                           const char *path, struct bm_error *err)
{
    struct search search;

    search_init(&search, path, uuid, err);
    return bm_domain_image_users(conn, on_user, &search, err);
}

/* --- headers of the neighbours --- */

/* Whether the header of that file names our image as its backing file. A
 * neighbour that qemu-img cannot read is no image. */
static bool backed_by(const struct search *search, const char *file)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_image_info info;
    bool hit;

    if (bm_image_info(file, NULL, &info, &ignored) < 0)
        return false;
    hit = info.backing && same_image(search, info.backing);
    bm_image_info_clear(&info);
    return hit;
}

static int look_at_entry(struct search *search, const char *folder,
                         const char *name)
{
    BM_FREE char *file = NULL;
    struct stat st;

    if (asprintf(&file, "%s/%s", folder, name) < 0) {
        file = NULL;
        return bm_fail_errno(search->err, ENOMEM, "cannot look at %s", folder);
    }
    /* not regular: nothing that could be opened without harm */
    if (lstat(file, &st) < 0 || !S_ISREG(st.st_mode) ||
        same_image(search, file))
        return 0;
    return backed_by(search, file) ? used(search, "image", file) : 0;
}

static int look_at_neighbours(struct search *search)
{
    BM_FREE char *folder = bm_file_folder(search->path);
    DIR *dir = folder ? opendir(folder) : NULL;
    struct dirent *entry;
    int rc = 0;

    if (!dir)
        return bm_fail_errno(search->err, errno, "cannot read the folder of %s",
                             search->path);
    while (!rc && (entry = readdir(dir)))
        rc = look_at_entry(search, folder, entry->d_name);
    (void)closedir(dir);
    return rc;
}

int bm_users_none(struct bm_connection *conn, const char *path,
                  struct bm_error *err)
{
    struct search search;
    int rc, fd;

    search_init(&search, path, NULL, err);
    rc = bm_domain_image_users(conn, on_user, &search, err);
    if (!rc)
        rc = look_at_neighbours(&search);
    if (rc)
        return rc;
    fd = bm_frozen_lock(path, err);
    if (fd < 0)
        return fd;
    (void)close(fd);
    return 0;
}
