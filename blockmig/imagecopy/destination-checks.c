// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/imagecopy/destination.h"

#include "blockmig/datastore/datastore.h"
#include "nbd/base/cleanup.h"
#include "nbd/image/image-lock.h"
#include "nbd/base/atomic-replace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

static int refused(struct bm_error *err)
{
    return bm_status(err, BM_EXIT_REFUSED);
}

/* --- names --- */

/* DIR/.NAME.blockmig-WHAT; with a folder always, as QEMU takes what stands
 * before a colon for a protocol. */
static char *beside(const char *path, const char *what)
{
    const char *slash = strrchr(path, '/');
    int dir = slash ? (int)(slash - path) + 1 : 0;
    char *name;

    if (asprintf(&name, "%s%.*s.%s.blockmig-%s", slash ? "" : "./", dir, path,
                 path + dir, what) < 0)
        return NULL;
    return name;
}

/* FNV-1a, 64 bits: one state file a target, whatever is in its name. */
static uint64_t name_hash(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return hash;
}

static char *in_state_dir(const char *dir, const char *target, const char *what)
{
    char *name;

    if (asprintf(&name, "%s/copy-%016" PRIx64 ".%s", dir, name_hash(target),
                 what) < 0)
        return NULL;
    return name;
}

/* The longest one: what is made last must not fail. */
static int check_length(const struct bm_destination *l, struct bm_error *err)
{
    if (strlen(strrchr(l->spool, '/') + 1) + BM_ATOMIC_REPLACE_SUFFIX <=
        NAME_MAX)
        return 0;
    bm_fail_errno(err, ENAMETOOLONG, "cannot copy to %s", l->name);
    bm_remedy(err, "temporary files beside it bear longer names");
    return refused(err);
}

static int set_names(const struct bm_image_copy *t, struct bm_destination *l,
                     struct bm_error *err)
{
    l->name = strdup(t->target);
    if (l->kind == BM_DESTINATION_FILE) {
        l->part = beside(t->target, "part");
        l->state = beside(t->target, "state");
        l->spool = beside(t->target, "digests");
    } else {
        l->part = strdup(t->target);
        l->state = in_state_dir(t->state_dir, t->target, "state");
        l->spool = in_state_dir(t->state_dir, t->target, "digests");
    }
    l->format = t->target_format ? t->target_format : "raw";
    if (!l->name || !l->part || !l->state || !l->spool)
        return bm_fail_errno(err, ENOMEM, "cannot copy to %s", t->target);
    return l->kind == BM_DESTINATION_FILE ? check_length(l, err) : 0;
}

/* --- looking --- */

/* Whoever writes it would go on in a file without a name. */
static int hold_old(const struct bm_image_copy *t, struct bm_destination *l,
                    struct bm_error *err)
{
    int rc;

    l->old = open(t->target, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (l->old < 0)
        return bm_fail_errno(err, errno, "cannot copy to %s", t->target);
    rc = bm_writer_lock(l->old, t->target, err);
    return rc == -EBUSY ? refused(err) : rc;
}

static int look_at_file(const struct bm_image_copy *t, struct bm_destination *l,
                        struct bm_error *err)
{
    if (t->force || (t->rescue && t->resume))
        return hold_old(t, l, err);
    bm_fail(err, EEXIST, "cannot copy to %s", t->target);
    bm_cause(err, "it exists");
    bm_remedy(err, "--force replaces it once the copy is complete");
    return refused(err);
}

/* No image is made there. */
static int check_raw(const struct bm_image_copy *t, const char *what,
                     struct bm_error *err)
{
    if (!t->target_format || strcmp(t->target_format, "raw") == 0)
        return 0;
    bm_fail(err, EINVAL, "cannot copy to %s", t->target);
    bm_cause(err, "%s takes the bytes as they are", what);
    return bm_remedy(err, "leave out -O"), refused(err);
}

static int look_at_device(const struct bm_image_copy *t,
                          const struct bm_destination *l, struct bm_error *err)
{
    bool going_on = t->resume && access(l->state, F_OK) == 0;
    BM_FREE char *signature = NULL;
    int rc;

    rc = check_raw(t, "a block device", err);
    if (rc < 0)
        return rc;
    rc = bm_datastore_signature(t->target, &signature, err);
    if (rc < 0)
        return rc;
    if (!signature || t->force || going_on)
        return 0;
    bm_fail(err, EEXIST, "cannot copy to %s", t->target);
    bm_cause(err, "it bears %s", signature);
    return bm_remedy(err, "--force overwrites it"), refused(err);
}

static int look_at_folder(const char *path, struct bm_error *err)
{
    const char *slash = strrchr(path, '/');
    BM_FREE char *dir =
        slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");

    if (!dir)
        return bm_fail_errno(err, ENOMEM, "cannot copy to %s", path);
    if (access(dir, W_OK | X_OK) == 0)
        return 0;
    bm_fail_errno(err, errno, "cannot copy to %s", path);
    return refused(err);
}

static int find_kind(const struct bm_image_copy *t, struct bm_destination *l,
                     bool *exists, struct bm_error *err)
{
    struct stat st;

    *exists = false;
    l->kind =
        bm_is_nbd_uri(t->target) ? BM_DESTINATION_SERVER : BM_DESTINATION_FILE;
    if (l->kind == BM_DESTINATION_SERVER)
        return 0;
    /* a link to nothing is something that would be replaced, too */
    if (lstat(t->target, &st) != 0)
        return errno == ENOENT
                   ? 0
                   : (bm_fail_errno(err, errno, "cannot copy to %s", t->target),
                      refused(err));
    *exists = true;
    if (stat(t->target, &st) == 0 && S_ISREG(st.st_mode))
        return 0;
    l->kind = BM_DESTINATION_DEVICE;
    if (S_ISBLK(st.st_mode))
        return 0;
    bm_fail(err, EINVAL, "cannot copy to %s", t->target);
    bm_cause(err, "it is neither a file nor a block device");
    return refused(err);
}

int bm_destination_look(const struct bm_image_copy *t, struct bm_destination *l,
                        struct bm_error *err)
{
    bool exists;
    int rc;

    memset(l, 0, sizeof *l);
    l->old = l->claim = -1;
    rc = find_kind(t, l, &exists, err);
    if (rc == 0)
        rc = set_names(t, l, err);
    if (rc == 0 && l->kind == BM_DESTINATION_SERVER)
        return check_raw(t, "an NBD server", err);
    if (rc)
        return rc;
    if (l->kind == BM_DESTINATION_DEVICE)
        return look_at_device(t, l, err);
    return exists ? look_at_file(t, l, err) : look_at_folder(t->target, err);
}
