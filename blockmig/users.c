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

#define MAX_LAYERS 200

struct search {
    const char *path;
    const char *except; /* a domain's UUID, or NULL */
    struct stat id;
    bool exists;
    bool headers; /* look into the images that domains name, too */
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

/* --- headers --- */

/* What a header says of its backing file need not be a plain name. In json:
 * the base name is enough: rather keep an image too many. */
static bool names_it(const struct search *search, const char *backing)
{
    const char *slash = strrchr(search->path, '/');

    if (!strncmp(backing, "json:", 5))
        return strstr(backing, slash ? slash + 1 : search->path) != NULL;
    return same_image(search,
                      strncmp(backing, "file:", 5) ? backing : backing + 5);
}

/* Whether the chain below that file leads to our image, by the headers. A
 * file that qemu-img cannot read is no image. */
static bool backed_by(const struct search *search, const char *file)
{
    BM_FREE char *layer = strdup(file);
    bool hit = false;

    for (int i = 0; layer && !hit && i < MAX_LAYERS; i++) {
        struct bm_error ignored = BM_ERROR_INIT;
        struct bm_image_info info;

        if (bm_image_info(layer, NULL, &info, &ignored) < 0)
            break;
        hit = info.backing && names_it(search, info.backing);
        free(layer);
        layer = BM_STEAL(info.backing);
        bm_image_info_clear(&info);
    }
    return hit;
}

/* libvirt does not know the chain of a domain that is shut off. */
static int on_user(void *opaque, const char *uuid, const char *name,
                   const char *path)
{
    struct search *search = opaque;
    struct stat st;

    if (search->except && !strcmp(uuid, search->except))
        return 0;
    if (same_image(search, path))
        return used(search, "domain", name);
    if (!search->headers || stat(path, &st) < 0 ||
        (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)))
        return 0;
    return backed_by(search, path) ? used(search, "domain", name) : 0;
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

/* --- the folder --- */

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
    search.headers = true;
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
