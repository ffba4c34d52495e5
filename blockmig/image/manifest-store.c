// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/manifest-store.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/atomic-replace.h"
#include "nbd/base/units.h"
#include "nbd/digest/manifest-file.h"

#include <errno.h>
#include <json-c/json.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#define KEY_BYTES 12

static void put_json(json_object **json)
{
    json_object_put(*json);
}
#define VAULT_JSON __attribute__((cleanup(put_json))) json_object

static int no_memory(const char *image, struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot look for the manifest of %s",
                         image);
}

/* DIR/manifests/UUID/KEY.ENDING; NULL: out of memory. */
static char *file_name(const struct bm_manifest_store *manifests,
                       const char *image, const char *ending)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    char key[2 * KEY_BYTES + 1], *name;
    unsigned len = 0;

    if (EVP_Digest(image, strlen(image), md, &len, EVP_sha256(), NULL) != 1)
        return NULL;
    for (size_t i = 0; i < KEY_BYTES; i++)
        snprintf(key + 2 * i, 3, "%02x", md[i]);
    return asprintf(&name, "%s/manifests/%s/%s.%s", manifests->dir,
                    manifests->uuid, key, ending) < 0
               ? NULL
               : name;
}

static int make_folders(const struct bm_manifest_store *manifests,
                        struct bm_error *err)
{
    BM_FREE char *all = NULL, *own = NULL;

    if (asprintf(&all, "%s/manifests", manifests->dir) < 0 ||
        asprintf(&own, "%s/manifests/%s", manifests->dir, manifests->uuid) < 0)
        return bm_fail_errno(err, ENOMEM, "cannot keep a manifest");
    if ((mkdir(all, 0700) < 0 && errno != EEXIST) ||
        (mkdir(own, 0700) < 0 && errno != EEXIST))
        return bm_fail_errno(err, errno, "cannot make %s", own);
    return 0;
}

/* --- which file it was --- */

static json_object *identity(const char *image, bool wrong)
{
    json_object *o = json_object_new_object();
    struct stat st;

    if (!o || stat(image, &st) < 0) {
        json_object_put(o);
        return NULL;
    }
    json_object_object_add(o, "path", json_object_new_string(image));
    json_object_object_add(o, "inode", json_object_new_uint64(st.st_ino));
    json_object_object_add(o, "size", json_object_new_int64(st.st_size));
    json_object_object_add(o, "mtime_ns",
                           json_object_new_int64(bm_nanoseconds(&st.st_mtim)));
    json_object_object_add(o, "wrong", json_object_new_boolean(wrong));
    return o;
}

static int write_identity(const struct bm_manifest_store *manifests,
                          const char *image, bool wrong, struct bm_error *err)
{
    BM_FREE char *name = file_name(manifests, image, "json");
    VAULT_JSON *json = identity(image, wrong);
    BM_ATOMIC_REPLACE struct bm_atomic_replace file = BM_ATOMIC_REPLACE_INIT;
    const char *text;
    int rc;

    if (!name || !json)
        return bm_fail_errno(err, json ? ENOMEM : errno,
                             "cannot note which file %s is", image);
    text = json_object_to_json_string(json);
    rc = bm_atomic_replace_begin(name, &file, err);
    if (!rc && write(file.fd, text, strlen(text)) != (ssize_t)strlen(text))
        rc = bm_fail_errno(err, errno, "cannot write %s", name);
    return rc ? rc : bm_atomic_replace_commit(&file, err);
}

static bool same_number(json_object *json, const char *key, int64_t value)
{
    json_object *it;

    return json_object_object_get_ex(json, key, &it) &&
           json_object_get_int64(it) == value;
}

static enum bm_kept judge(json_object *json, const char *image)
{
    json_object *wrong;
    struct stat st;

    if (!json_object_object_get_ex(json, "wrong", &wrong) ||
        stat(image, &st) < 0)
        return BM_KEPT_CHANGED;
    if (json_object_get_boolean(wrong))
        return BM_KEPT_WRONG;
    return same_number(json, "inode", (int64_t)st.st_ino) &&
                   same_number(json, "size", st.st_size) &&
                   same_number(json, "mtime_ns", bm_nanoseconds(&st.st_mtim))
               ? BM_KEPT_SAME
               : BM_KEPT_CHANGED;
}

int bm_manifest_store_look(const struct bm_manifest_store *manifests,
                           const char *image, enum bm_kept *out,
                           struct bm_error *err)
{
    BM_FREE char *name = file_name(manifests, image, "json");
    VAULT_JSON *json = NULL;

    *out = BM_KEPT_NONE;
    if (!name)
        return no_memory(image, err);
    if (access(name, F_OK) != 0)
        return 0;
    json = json_object_from_file(name);
    *out = json ? judge(json, image) : BM_KEPT_CHANGED;
    return 0;
}

/* --- manifests --- */

int bm_manifest_store_open(const struct bm_manifest_store *manifests,
                           const char *image, struct bm_manifest **out,
                           struct bm_error *err)
{
    BM_FREE char *name = file_name(manifests, image, "manifest");

    if (!name)
        return no_memory(image, err);
    if (access(name, F_OK) != 0)
        return bm_fail_errno(err, ENOENT, "there is no manifest of %s", image);
    return bm_manifest_open(name, out, err);
}

/* The identity last: it says that the manifest is there. */
int bm_manifest_store_put(const struct bm_manifest_store *manifests,
                          const char *image, const struct bm_manifest *manifest,
                          struct bm_error *err)
{
    BM_FREE char *name = file_name(manifests, image, "manifest");
    int rc = name ? make_folders(manifests, err) : no_memory(image, err);

    if (!rc)
        rc = bm_manifest_store_forget(manifests, image, err);
    if (!rc)
        rc = bm_manifest_save(manifest, name, err);
    return rc ? rc : write_identity(manifests, image, false, err);
}

int bm_manifest_store_stamp(const struct bm_manifest_store *manifests,
                            const char *image, bool wrong, struct bm_error *err)
{
    enum bm_kept kept;
    int rc = bm_manifest_store_look(manifests, image, &kept, err);

    return rc || kept == BM_KEPT_NONE
               ? rc
               : write_identity(manifests, image, wrong, err);
}

static int remove_one(const struct bm_manifest_store *manifests,
                      const char *image, const char *ending,
                      struct bm_error *err)
{
    BM_FREE char *name = file_name(manifests, image, ending);

    if (!name)
        return no_memory(image, err);
    if (unlink(name) == 0 || errno == ENOENT)
        return 0;
    return bm_fail_errno(err, errno, "cannot remove %s", name);
}

int bm_manifest_store_forget(const struct bm_manifest_store *manifests,
                             const char *image, struct bm_error *err)
{
    int rc = remove_one(manifests, image, "json", err);

    return rc ? rc : remove_one(manifests, image, "manifest", err);
}

int bm_manifest_store_hand(const struct bm_manifest_store *manifests,
                           const char *from, const char *to,
                           struct bm_error *err)
{
    BM_FREE char *old = file_name(manifests, from, "manifest");
    BM_FREE char *new = file_name(manifests, to, "manifest");
    enum bm_kept kept;
    int rc = old && new ? bm_manifest_store_look(manifests, from, &kept, err)
                        : no_memory(from, err);

    if (rc || kept != BM_KEPT_SAME)
        return rc ? rc : bm_manifest_store_forget(manifests, from, err);
    rc = remove_one(manifests, to, "json", err);
    if (!rc && rename(old, new) < 0)
        rc = bm_fail_errno(err, errno, "cannot rename %s", old);
    if (!rc)
        rc = write_identity(manifests, to, false, err);
    return rc ? rc : bm_manifest_store_forget(manifests, from, err);
}
