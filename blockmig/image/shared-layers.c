// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/shared-layers.h"

#include "blockmig/image/owned-file.h"
#include "blockmig/image/image-match.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/paths.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

struct look_context {
    const struct bm_domain *domain;
    struct bm_image_match *layers; /* of the chain */
    size_t n;
    struct bm_paths seen; /* files whose headers were followed */
    size_t from;          /* the uppermost layer found so far; n: none */
    char *why;
};

/* The layer that this is, or n. */
static size_t layer_of(const struct look_context *look, const char *path)
{
    for (size_t i = 0; i < look->n; i++)
        if (bm_image_match_is(&look->layers[i], path))
            return i;
    return look->n;
}

/* The top image is the disk's own, whoever names it besides: preflight sees to
 * that. */
static int note(struct look_context *look, size_t layer, const char *kind,
                const char *name)
{
    char *why;

    if (layer >= look->from || layer == 0)
        return 0;
    if (asprintf(&why, "%s is used by %s %s", look->layers[layer].path, kind,
                 name) < 0)
        return -ENOMEM;
    free(look->why);
    look->why = why;
    look->from = layer;
    return 0;
}

/* --- headers --- */

struct walk {
    struct look_context *look;
    const char *kind, *name;
};

static int on_backing(void *opaque, const char *backing)
{
    const struct walk *walk = opaque;

    for (size_t i = 1; i < walk->look->n; i++)
        if (bm_image_match_is(&walk->look->layers[i], backing))
            return note(walk->look, i, walk->kind, walk->name);
    return 0;
}

/* What a file that is no layer of the chain stands on. */
static int follow(struct look_context *look, const char *file, const char *kind,
                  const char *name)
{
    struct walk walk = {look, kind, name};
    struct stat st;
    int rc;

    if (bm_paths_have(&look->seen, file) || stat(file, &st) < 0 ||
        (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)))
        return 0;
    rc = bm_paths_add(&look->seen, file);
    if (!rc)
        rc = bm_image_match_below(file, NULL, on_backing, &walk);
    /* a move writes to no layer: what cannot be read does not stop it */
    return rc == -EIO ? 0 : rc;
}

/* --- who names what --- */

static int on_user(void *opaque, const struct bm_image_use *use)
{
    struct look_context *look = opaque;
    size_t layer = layer_of(look, use->path);
    bool own = !strcmp(use->uuid, look->domain->uuid);

    if (layer == look->n)
        return follow(look, use->path,
                      own ? "another branch of the snapshots of" : "domain",
                      use->name);
    /* of this domain it is the disk itself, or a snapshot of it */
    return own ? 0 : note(look, layer, "domain", use->name);
}

static int other_disks(struct look_context *look, const char *target)
{
    int rc = 0;

    for (size_t d = 0; !rc && d < look->domain->n_disks; d++) {
        const struct bm_disk *disk = &look->domain->disks[d];

        for (size_t l = 0;
             strcmp(disk->target, target) != 0 && !rc && l < disk->chain.n; l++)
            if (disk->chain.layers[l].path)
                rc = note(look, layer_of(look, disk->chain.layers[l].path),
                          "disk", disk->target);
    }
    return rc;
}

/* --- folders --- */

static int look_into(struct look_context *look, const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    int rc = 0;

    while (dir && !rc && (entry = readdir(dir))) {
        BM_FREE char *file = NULL;
        struct stat st;

        if (asprintf(&file, "%s/%s", folder, entry->d_name) < 0) {
            file = NULL;
            rc = -ENOMEM;
        } else if (stat(file, &st) == 0 && S_ISREG(st.st_mode) &&
                   layer_of(look, file) == look->n) {
            rc = follow(look, file, "the image", file);
        }
    }
    if (dir)
        (void)closedir(dir);
    return rc;
}

/* A folder that was looked into already costs no header again. */
static int folders(struct look_context *look, const struct bm_chain *chain,
                   const char *store)
{
    int rc = store ? look_into(look, store) : 0;

    for (size_t i = 0; !rc && i < chain->n; i++) {
        BM_FREE char *folder = chain->layers[i].type == BM_SOURCE_FILE
                                   ? bm_file_folder(chain->layers[i].path)
                                   : NULL;

        rc = folder ? look_into(look, folder) : 0;
    }
    return rc;
}

static int search(struct look_context *look, struct bm_connection *conn,
                  const char *target, const struct bm_chain *chain,
                  const char *store, struct bm_error *err)
{
    int rc = other_disks(look, target);

    if (!rc)
        rc = bm_domain_image_users(conn, on_user, look, err);
    if (!rc)
        rc = folders(look, chain, store);
    return rc == -ENOMEM
               ? bm_fail_errno(err, ENOMEM, "cannot look for users of images")
               : rc;
}

int bm_sharing_find(struct bm_connection *conn, const struct bm_domain *domain,
                    const char *target, const struct bm_chain *chain,
                    const char *store, size_t *from, char **why,
                    struct bm_error *err)
{
    struct look_context look = {.domain = domain,
                                .layers = calloc(chain->n, sizeof *look.layers),
                                .n = chain->n,
                                .from = chain->n};
    int rc;

    if (!look.layers)
        return bm_fail_errno(err, ENOMEM, "cannot look for users of images");
    for (size_t i = 0; i < chain->n; i++)
        bm_image_match_init(&look.layers[i], chain->layers[i].path);
    rc = search(&look, conn, target, chain, store, err);
    bm_paths_clear(&look.seen);
    free(look.layers);
    *from = look.from;
    *why = look.why;
    if (rc) {
        free(look.why);
        *why = NULL;
    }
    return rc;
}
