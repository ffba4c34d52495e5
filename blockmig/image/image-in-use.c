// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/image-in-use.h"

#include "blockmig/image/owned-file.h"
#include "blockmig/image/image-match.h"
#include "nbd/base/cleanup.h"
#include "nbd/image/image-lock.h"
#include "snapshot/domain/domain.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct search_context {
    struct bm_image_match match;
    /* A domain's UUID, or NULL: that it names it does not count, or, with
     * headers, as what a restore point has put on its state. */
    const char *except;
    bool headers; /* look into the images that domains name, too */
    struct bm_paths seen;
    struct bm_error *err;
};

static int used(const struct search_context *search, const char *kind,
                const char *name)
{
    bm_fail(search->err, EBUSY, "%s is still in use", search->match.path);
    return bm_cause(search->err, "%s %s names it", kind, name), -EBUSY;
}

/* --- headers --- */

static int is_it(void *opaque, const char *backing)
{
    const struct search_context *search = opaque;

    return bm_image_match_is(&search->match, backing);
}

/* Whether the chain below that file leads to our image, by the headers: 0, or
 * -EBUSY, also when it cannot be told. */
static int follow(struct search_context *search, const char *file,
                  const char *kind, const char *name)
{
    int rc = bm_image_match_below(file, &search->seen, is_it, search);

    if (rc == -ENOMEM)
        return bm_fail_errno(search->err, ENOMEM, "cannot look at %s", file);
    if (rc >= 0)
        return rc ? used(search, kind, name) : 0;
    bm_fail(search->err, EBUSY, "%s may be in use", search->match.path);
    bm_cause(search->err, "the chain of %s %s cannot be read", kind, name);
    return -EBUSY;
}

/* libvirt does not know the chain of a domain that is shut off. */
static int on_user(void *opaque, const struct bm_image_use *use)
{
    struct search_context *search = opaque;
    bool own = search->except && !strcmp(use->uuid, search->except);
    struct stat st;

    if (own && !search->headers)
        return 0;
    if (bm_image_match_is(&search->match, use->path))
        return own && use->overlay ? 0 : used(search, "domain", use->name);
    if (!search->headers || use->plain ||
        (stat(use->path, &st) < 0
             ? errno == ENOENT
             : !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)))
        return 0;
    return follow(search, use->path, "domain", use->name);
}

static void search_init(struct search_context *search, const char *path,
                        const char *except, struct bm_error *err)
{
    memset(search, 0, sizeof *search);
    bm_image_match_init(&search->match, path);
    search->except = except;
    search->err = err;
}

int bm_users_other_domains(struct bm_connection *conn, const char *uuid,
                           const char *path, struct bm_error *err)
{
    struct search_context search;

    search_init(&search, path, uuid, err);
    return bm_domain_image_users(conn, on_user, &search, err);
}

/* --- the folder --- */

static int look_at_entry(struct search_context *search, const char *folder,
                         const char *name)
{
    BM_FREE char *file = NULL;
    struct stat st;

    if (asprintf(&file, "%s/%s", folder, name) < 0) {
        file = NULL;
        return bm_fail_errno(search->err, ENOMEM, "cannot look at %s", folder);
    }
    /* not regular: nothing that could be opened without harm */
    if (stat(file, &st) < 0 || !S_ISREG(st.st_mode) ||
        bm_image_match_is(&search->match, file))
        return 0;
    return follow(search, file, "image", file);
}

static int look_at_neighbours(struct search_context *search)
{
    BM_FREE char *folder = bm_file_folder(search->match.path);
    DIR *dir = folder ? opendir(folder) : NULL;
    struct dirent *entry;
    int rc = 0;

    if (!dir)
        return bm_fail_errno(search->err, errno, "cannot read the folder of %s",
                             search->match.path);
    while (!rc && (entry = readdir(dir)))
        rc = look_at_entry(search, folder, entry->d_name);
    (void)closedir(dir);
    return rc;
}

int bm_users_none(struct bm_connection *conn, const char *uuid,
                  const char *path, struct bm_error *err)
{
    struct search_context search;
    int rc, fd;

    search_init(&search, path, uuid, err);
    search.headers = true;
    rc = bm_domain_file_users(conn, on_user, &search, err);
    if (!rc)
        rc = look_at_neighbours(&search);
    bm_paths_clear(&search.seen);
    if (rc)
        return rc;
    fd = bm_frozen_lock(path, err);
    if (fd < 0)
        return fd;
    (void)close(fd);
    return 0;
}
