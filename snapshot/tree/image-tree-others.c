// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who else stands on the images of a domain: what other domains and their
 * snapshots name, and what lies in the same folders.
 */
#include "snapshot/tree/image-tree-others.h"

#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img.h"
#include "nbd/base/paths.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct look_context {
    const struct bm_domain *domain;
    struct bm_image_tree *tree;
    struct bm_paths seen; /* files whose headers were followed */
};

static int mark(struct bm_tree_image *image, const char *kind, const char *name)
{
    if (image->other)
        return 0;
    return asprintf(&image->other, "%s %s", kind, name) < 0
               ? (image->other = NULL, -ENOMEM)
               : 0;
}

/* Then nobody knows who stands on whom. */
static int unread(struct bm_image_tree *tree, const char *path, const char *why)
{
    if (tree->unread)
        return 0;
    return asprintf(&tree->unread, "%s: %s", path, why) < 0
               ? (tree->unread = NULL, -ENOMEM)
               : 0;
}

/* The layers of a strange image, until one of ours. */
struct walk {
    struct bm_image_tree *tree;
    struct bm_chain chain; /* those that are not ours */
    int ours;              /* -1: none of it */
    bool stray;            /* as of struct bm_tree_image */
};

static int add_walk(const struct walk *walk, const char *kind, const char *name)
{
    int below = walk->ours;

    for (size_t l = walk->chain.n; l-- > 0;) {
        int i = bm_tree_add(walk->tree, &walk->chain.layers[l],
                            walk->tree->list[walk->ours].disk);
        int rc = i < 0 ? i : mark(&walk->tree->list[i], kind, name);

        if (rc)
            return rc;
        walk->tree->list[i].below = below;
        walk->tree->list[i].stray = walk->stray;
        below = i;
    }
    return 0;
}

static int walk_down(struct walk *walk, const char *file)
{
    BM_FREE char *layer = strdup(file);
    int rc = layer ? 0 : -ENOMEM;

    for (unsigned i = 0; !rc && layer && i < BM_TREE_MAX; i++) {
        struct bm_error why = BM_ERROR_INIT;
        char *next = NULL;

        walk->ours = bm_tree_index(walk->tree, layer);
        if (walk->ours >= 0)
            return 0;
        rc = bm_chain_append(&walk->chain, BM_SOURCE_FILE, layer, NULL);
        if (!rc && bm_image_below(layer, NULL, &next, &why))
            rc = why.code == ENOMEM
                     ? -ENOMEM
                     : unread(walk->tree, layer,
                              why.cause[0] ? why.cause : why.what);
        free(layer);
        layer = next;
    }
    return rc;
}

/* One that is none of ours: does it stand on one? */
static int follow(struct look_context *look, const char *file, const char *kind,
                  const char *name, bool stray)
{
    struct walk walk = {.tree = look->tree, .ours = -1, .stray = stray};
    struct stat st;
    int rc;

    if (bm_paths_have(&look->seen, file))
        return 0;
    if (stat(file, &st) < 0)
        return errno == ENOENT ? 0 : unread(look->tree, file, strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return 0;
    rc = bm_paths_add(&look->seen, file);
    if (!rc)
        rc = walk_down(&walk, file);
    if (!rc && walk.ours >= 0)
        rc = add_walk(&walk, kind, name);
    bm_chain_clear(&walk.chain);
    return rc;
}

static int on_user(void *opaque, const struct bm_image_use *use)
{
    struct look_context *look = opaque;
    int i = bm_tree_index(look->tree, use->path);

    if (!strcmp(use->uuid, look->domain->uuid))
        return 0;
    return i < 0 ? follow(look, use->path, "domain", use->name, false)
                 : mark(&look->tree->list[i], "domain", use->name);
}

/* --- folders --- */

static int look_at_entry(struct look_context *look, const char *folder,
                         const char *name)
{
    BM_FREE char *file = NULL;
    struct stat st;

    if (asprintf(&file, "%s/%s", folder, name) < 0) {
        file = NULL;
        return -ENOMEM;
    }
    /* a link may lead to one; what is not regular cannot be opened without
     * harm */
    if (stat(file, &st) < 0 || !S_ISREG(st.st_mode) ||
        bm_tree_index(look->tree, file) >= 0)
        return 0;
    return follow(look, file, "the image", file, true);
}

static int look_into(struct look_context *look, const char *folder)
{
    DIR *dir;
    struct dirent *entry;
    int rc = 0;

    if (bm_paths_have(&look->seen, folder))
        return 0;
    rc = bm_paths_add(&look->seen, folder);
    dir = rc ? NULL : opendir(folder);
    if (!rc && !dir && errno != ENOENT)
        rc = unread(look->tree, folder, strerror(errno));
    while (dir && !rc && (entry = readdir(dir)))
        rc = look_at_entry(look, folder, entry->d_name);
    if (dir)
        (void)closedir(dir);
    return rc;
}

static int look_beside(struct look_context *look, int i)
{
    const struct bm_layer *layer = &look->tree->list[i].layer;
    const char *slash = layer->path ? strrchr(layer->path, '/') : NULL;
    BM_FREE char *folder = NULL;

    if (layer->type != BM_SOURCE_FILE || !slash)
        return 0;
    folder = strndup(layer->path,
                     slash == layer->path ? 1 : (size_t)(slash - layer->path));
    return folder ? look_into(look, folder) : -ENOMEM;
}

int bm_tree_add_others(struct bm_connection *conn,
                       const struct bm_domain *domain,
                       struct bm_image_tree *tree, struct bm_error *err)
{
    struct look_context look = {.domain = domain, .tree = tree};
    size_t ours = tree->n;
    int rc = bm_domain_image_users(conn, on_user, &look, err);

    for (size_t i = 0; !rc && i < ours; i++)
        rc = look_beside(&look, (int)i);
    bm_paths_clear(&look.seen);
    return rc == -ENOMEM
               ? bm_fail_errno(err, ENOMEM, "cannot look for users of images")
               : rc;
}
