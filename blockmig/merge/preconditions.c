// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who stands on the layers of a merge. Before anything is written: nobody that
 * the plan does not know. And where no guest runs on them, no guest until what
 * named them names what took them.
 */
#include "blockmig/datastore/liveness.h"
#include "blockmig/image/file-identity.h"
#include "blockmig/merge/merge.h"
#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img.h"
#include "nbd/image/image-lock.h"
#include "nbd/base/paths.h"
#include "snapshot/tree/image-tree.h"
#include "snapshot/tree/image-tree-index.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- others --- */

static int stranger(const struct bm_run *run, const struct bm_layer *layer,
                    const char *who, struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot merge layers of %s", run->job->domain);
    bm_cause(err, "since the plan was made %s stands on %s", who, layer->path);
    bm_remedy(err, "see 'blockmig snapshot tree %s'", run->job->domain);
    return -ESTALE;
}

static int moved(const struct bm_layer *above, const struct bm_layer *layer,
                 struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot merge into %s", layer->path);
    bm_cause(err, "%s does not stand on it", above->path);
    return -ESTALE;
}

/* qemu-img goes by the headers, whatever the XML says. */
static int check_header(const struct bm_layer *above,
                        const struct bm_layer *layer, struct bm_error *err)
{
    BM_FREE char *below = NULL;
    int rc = bm_image_below(above->path, above->format, &below, err);

    if (rc)
        return rc;
    return below && bm_same_file(below, layer->path) ? 0
                                                     : moved(above, layer, err);
}

static int check_layer(const struct bm_run *run,
                       const struct bm_job_merge *merge,
                       const struct bm_image_tree *tree, size_t l,
                       struct bm_error *err)
{
    const struct bm_layer *layer = &merge->layers.layers[l];
    int above = bm_tree_index(tree, merge->layers.layers[l - 1].path);
    int i = bm_tree_index(tree, layer->path);

    if (i < 0 || !tree->list[i].there)
        return bm_fail_errno(err, ENOENT, "cannot merge into %s", layer->path);
    if (above < 0 || tree->list[above].below != i)
        return moved(&merge->layers.layers[l - 1], layer, err);
    if (tree->list[i].other)
        return stranger(run, layer, tree->list[i].other, err);
    for (int k = bm_tree_child(tree, i, -1); k >= 0;
         k = bm_tree_child(tree, i, k))
        if (k != above)
            return stranger(run, layer, tree->list[k].layer.path, err);
    return 0;
}

int bm_merge_check_stand(struct bm_run *run, const struct bm_job_merge *merge,
                         bool live, struct bm_error *err)
{
    BM_RESTORE_POINTS points = {0};
    BM_IMAGE_TREE tree = {0};
    int rc = bm_restore_points_read(run->domain, &points, err);

    if (!rc)
        rc = bm_tree_find(run->conn, run->domain, &points, true, &tree, err);
    for (size_t l = 1; !rc && l < merge->layers.n; l++)
        rc = check_layer(run, merge, &tree, l, err);
    for (size_t l = 1; !rc && !live && l < merge->layers.n; l++)
        rc = check_header(&merge->layers.layers[l - 1],
                          &merge->layers.layers[l], err);
    if (!rc && tree.unread)
        rc = stranger(run, bm_merge_base(merge), tree.unread, err);
    return rc;
}

static int replaced(const struct bm_run *run, const char *path,
                    struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot merge layers of %s", run->job->domain);
    bm_cause(err, "%s is not the file any more that the plan was made for",
             path);
    bm_remedy(err, "see 'blockmig snapshot tree %s'", run->job->domain);
    return -ESTALE;
}

int bm_merge_check_files(struct bm_run *run, const struct bm_job_merge *merge,
                         struct bm_error *err)
{
    enum bm_merge_at at;
    int rc = bm_merge_look(run, merge, &at, err);

    for (size_t l = 0; !rc && l < merge->layers.n; l++) {
        const struct bm_layer *layer = &merge->layers.layers[l];
        uint64_t id = layer->path ? bm_file_id(layer->path) : 0;

        if (layer->id && id && id != layer->id)
            rc = replaced(run, layer->path, err);
    }
    return rc || at != BM_MERGE_CHAIN ? rc : bm_run_check_away(run, err);
}

int bm_merge_held(const struct bm_run *run, const struct bm_job_merge *merge,
                  int rc, struct bm_error *err)
{
    const struct bm_error why = *err;

    if (rc != -ESTALE || !merge->begun)
        return rc;
    rc = bm_job_needs_operator(run->job, err);
    bm_cause(err, "%s", why.cause);
    bm_remedy(err, "%s%s`blockmig job resume %s`", why.remedy,
              why.remedy[0] ? "; then " : "when that is mended ", run->job->id);
    return rc;
}

/* --- no guest --- */

static int started(struct bm_run *run, const struct bm_job_merge *merge,
                   struct bm_error *err)
{
    return bm_run_misplaced(run, bm_merge_disk(run->job, merge),
                            "on layers that were merged", NULL, err);
}

int bm_merge_check_off(struct bm_run *run, const struct bm_job_merge *merge,
                       struct bm_error *err)
{
    enum bm_merge_at at = BM_MERGE_CHAIN;
    int rc = bm_run_refresh_domain(run, err);

    if (!rc)
        rc = bm_merge_look(run, merge, &at, err);
    if (rc || at != BM_MERGE_CHAIN)
        return rc;
    if (run->domain->active)
        return started(run, merge, err);
    return bm_merge_held(run, merge, bm_run_check_away(run, err), err);
}

/* First the lock, then the look: a QEMU that comes later cannot open it. One
 * that is gone was deleted by a dead process of ours. */
int bm_merge_hold(struct bm_run *run, const struct bm_job_merge *merge,
                  int *held, struct bm_error *err)
{
    enum bm_merge_at at;
    int rc = bm_merge_look(run, merge, &at, err);

    const char *top = merge->layers.layers[0].path;

    *held = -1;
    if (!rc)
        rc = bm_store_is_alive(top, err);
    if (!rc)
        rc = bm_store_is_alive(bm_merge_base(merge)->path, err);
    if (rc || at == BM_MERGE_MERGED || access(top, F_OK) != 0)
        return rc;
    *held = bm_frozen_lock(top, err);
    if (*held < 0 && *held != -EBUSY)
        return *held;
    if (*held < 0)
        return *held = -1, started(run, merge, err);
    return bm_merge_check_off(run, merge, err);
}

int bm_merge_stamp(struct bm_job_merge *merge, struct bm_error *err)
{
    free(merge->stamp);
    merge->stamp = bm_identity_of_file(merge->layers.layers[0].path, err);
    return merge->stamp ? 0 : -err->code;
}

int bm_merge_stale(const struct bm_job_merge *merge, struct bm_error *err)
{
    BM_FREE char *now = NULL;

    if (!merge->stamp)
        return 0;
    now = bm_identity_of_file(merge->layers.layers[0].path, err);
    return now ? strcmp(now, merge->stamp) != 0 : -err->code;
}

/* --- the base --- */

int bm_merge_mark_base(struct bm_job_merge *merge, struct bm_error *err)
{
    const char *path = bm_merge_base(merge)->path;
    struct stat st;

    if (stat(path, &st) != 0)
        return bm_fail_errno(err, errno, "cannot examine %s", path);
    merge->base_ino = st.st_ino;
    merge->base_size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    return 0;
}

int bm_merge_check_base(const struct bm_run *run,
                        const struct bm_job_merge *merge, struct bm_error *err)
{
    const char *path = bm_merge_base(merge)->path;
    struct stat st;
    int rc;

    if (stat(path, &st) == 0 && st.st_ino == merge->base_ino &&
        (uint64_t)st.st_size >= merge->base_size)
        return 0;
    rc = bm_job_needs_operator(run->job, err);
    bm_cause(err,
             "%s is not the file any more that was proven; what was merged "
             "into it is still in %s",
             path, merge->layers.layers[0].path);
    bm_remedy(err, "bring it back, then `blockmig job resume %s`",
              run->job->id);
    return rc;
}
