// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/image.h"

#include "nbd/cleanup.h"
#include "nbd/image-parts.h"
#include "nbd/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/stat.h>

#define CHAIN_MAX 200u /* layers; libvirt stops there too */

/* An image's metadata is read in milliseconds; a dead NFS server takes for
 * ever. */
#define INFO_MS 30000
#define CHECK_MS 3600000
#define COMMIT_MS 86400000

int bm_qemu_errno(const char *message)
{
    static const struct {
        const char *text;
        int code;
    } known[] = {
        {"Failed to get ", EBUSY}, /* ... "write" lock */
        {"Is another process using the image", EBUSY},
        {"Device or resource busy", EBUSY},
        {"No such file", ENOENT},
        {"Permission denied", EACCES},
        {"No space left", ENOSPC},
        {"Read-only file system", EROFS},
        {"O_DIRECT", EINVAL},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(message, known[i].text))
            return known[i].code;
    return EIO;
}

int bm_image_refine(int rc, struct bm_error *err)
{
    if (rc == -EIO && err)
        err->code = bm_qemu_errno(err->cause);
    return rc == -EIO && err ? -err->code : rc;
}

char *bm_image_plain_name(const char *path)
{
    char *name;

    if (path[0] == '/')
        return strdup(path);
    return asprintf(&name, "./%s", path) < 0 ? NULL : name;
}

void bm_image_info_clear(struct bm_image_info *info)
{
    free(info->format);
    free(info->backing);
    free(info->backing_format);
    free(info->options);
    memset(info, 0, sizeof *info);
}

static uint64_t get_number(struct json_object *json, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(json, key, &value)
               ? (uint64_t)json_object_get_int64(value)
               : 0;
}

static int get_string(struct json_object *json, const char *key, char **out)
{
    struct json_object *value;

    if (!json_object_object_get_ex(json, key, &value))
        return 0;
    *out = strdup(json_object_get_string(value));
    return *out ? 0 : -ENOMEM;
}

static unsigned get_length(struct json_object *json, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(json, key, &value) ||
        !json_object_is_type(value, json_type_array))
        return 0;
    return (unsigned)json_object_array_length(value);
}

/* qemu-img resolves a name against the image's folder. */
static bool is_relative(struct json_object *json, const char *full)
{
    struct json_object *value;

    return full &&
           json_object_object_get_ex(json, "backing-filename", &value) &&
           strcmp(json_object_get_string(value), full) != 0;
}

/* Appends ",OPTION=VALUE" of a qcow2's data, as qemu-img create writes it. */
static void put_option(FILE *out, struct json_object *data, const char *key,
                       const char *option)
{
    struct json_object *value;

    if (!json_object_object_get_ex(data, key, &value))
        return;
    if (json_object_is_type(value, json_type_boolean))
        fprintf(out, ",%s=%s", option,
                json_object_get_boolean(value) ? "on" : "off");
    else
        fprintf(out, ",%s=%s", option, json_object_get_string(value));
}

/* compat decides which of the others there can be: qemu-img tells no more. */
static int get_options(struct json_object *json, struct json_object *data,
                       char **out)
{
    size_t size = 0;
    FILE *text = open_memstream(out, &size);
    struct json_object *value;

    if (!text)
        return -ENOMEM;
    fprintf(text, "cluster_size=%" PRIu64, get_number(json, "cluster-size"));
    put_option(text, data, "compat", "compat");
    /* qemu-img takes these two for compat=1.1 only */
    if (json_object_object_get_ex(data, "compat", &value) &&
        strcmp(json_object_get_string(value), "0.10") != 0) {
        put_option(text, data, "refcount-bits", "refcount_bits");
        put_option(text, data, "lazy-refcounts", "lazy_refcounts");
        put_option(text, data, "extended-l2", "extended_l2");
        put_option(text, data, "compression-type", "compression_type");
    }
    return fclose(text) == 0 ? 0 : -ENOMEM;
}

static int fill_info(struct json_object *json, struct bm_image_info *info)
{
    struct json_object *specific = NULL, *data = NULL, *value;
    bool encrypted = json_object_object_get_ex(json, "encrypted", &value) &&
                     json_object_get_boolean(value);
    const char *backing =
        json_object_object_get_ex(json, "full-backing-filename", &value)
            ? "full-backing-filename"
            : "backing-filename";

    if (!json_object_object_get_ex(json, "virtual-size", &value))
        return -EBADMSG;
    info->virtual_size = get_number(json, "virtual-size");
    info->actual_size = get_number(json, "actual-size");
    info->snapshots = get_length(json, "snapshots");
    if (json_object_object_get_ex(json, "format-specific", &specific) &&
        json_object_object_get_ex(specific, "data", &data)) {
        info->bitmaps = get_length(data, "bitmaps");
        info->data_file = json_object_object_get_ex(data, "data-file", &value);
    }
    if (get_string(json, "format", &info->format) != 0 ||
        get_string(json, backing, &info->backing) != 0 ||
        get_string(json, "backing-filename-format", &info->backing_format) != 0)
        return -ENOMEM;
    if (!info->format)
        return -EBADMSG;
    info->encrypted = encrypted || strcmp(info->format, "luks") == 0;
    info->relative = is_relative(json, info->backing);
    info->thick = !info->backing && info->actual_size >= info->virtual_size;
    return strcmp(info->format, "qcow2") == 0 && data
               ? get_options(json, data, &info->options)
               : 0;
}

static int unreadable(const char *path, int code, struct bm_error *err)
{
    return bm_fail_errno(err, code, "cannot read what qemu-img says of %s",
                         path);
}

int bm_image_info_json(const char *path, const char *format,
                       struct json_object **out, struct bm_error *err)
{
    BM_FREE char *name = bm_image_plain_name(path), *text = NULL;
    const char *argv[] = {"qemu-img", "info", "-U", "--output=json",
                          name,       NULL,   NULL, NULL};
    int rc;

    if (!name)
        return bm_fail_errno(err, ENOMEM, "cannot examine %s", path);
    if (format) {
        argv[5] = "-f";
        argv[6] = format;
    }
    rc = bm_image_refine(
        bm_child_run(argv, INFO_MS, NULL, NULL, NULL, &text, err), err);
    if (rc != 0)
        return rc;
    *out = json_tokener_parse(text);
    return *out ? 0 : unreadable(path, EBADMSG, err);
}

int bm_image_info(const char *path, const char *format,
                  struct bm_image_info *info, struct bm_error *err)
{
    BM_IMAGE_JSON struct json_object *json = NULL;
    int rc;

    memset(info, 0, sizeof *info);
    rc = bm_image_info_json(path, format, &json, err);
    if (rc != 0)
        return rc;
    rc = fill_info(json, info);
    if (rc == 0)
        return 0;
    bm_image_info_clear(info);
    return unreadable(path, -rc, err);
}

/* Adds and owns value; a NULL value is a failed allocation, not a null. */
static int add(struct json_object *json, const char *key,
               struct json_object *value)
{
    if (value && json_object_object_add(json, key, value) == 0)
        return 0;
    bm_image_put_json(&value);
    return -ENOMEM;
}

static struct json_object *file_spec(const struct bm_image_layer *layer,
                                     bool cache_none)
{
    BM_IMAGE_JSON struct json_object *json = json_object_new_object();
    const char *driver = layer->block ? "host_device" : "file";

    if (!json || add(json, "driver", json_object_new_string(driver)) != 0 ||
        add(json, "filename", json_object_new_string(layer->path)) != 0 ||
        add(json, "locking", json_object_new_string("auto")) != 0)
        return NULL;
    if (cache_none) {
        struct json_object *cache = json_object_new_object();

        if (add(json, "cache", cache) != 0 ||
            add(cache, "direct", json_object_new_boolean(1)) != 0)
            return NULL;
    }
    return BM_STEAL(json);
}

/* From the bottom up, so that each layer holds the one below it. */
static struct json_object *chain_spec(const struct bm_image_layer *layers,
                                      size_t n, bool cache_none)
{
    BM_IMAGE_JSON struct json_object *below = NULL;

    for (size_t i = n; i-- > 0;) {
        BM_IMAGE_JSON struct json_object *json = json_object_new_object();
        const char *format = layers[i].format;
        bool raw = strcmp(format, "raw") == 0;

        if (!json || add(json, "driver", json_object_new_string(format)) != 0 ||
            add(json, "file", file_spec(&layers[i], cache_none)) != 0)
            return NULL;
        /* json-c writes a NULL object as null: no backing, whatever the
         * header says. */
        if ((below || !raw) &&
            json_object_object_add(json, "backing", BM_STEAL(below)) != 0)
            return NULL;
        below = BM_STEAL(json);
    }
    return BM_STEAL(below);
}

char *bm_image_spec(const struct bm_image_layer *layers, size_t n,
                    bool cache_none)
{
    BM_IMAGE_JSON struct json_object *json = chain_spec(layers, n, cache_none);
    const char *text;
    char *spec;

    if (!json)
        return NULL;
    text = json_object_to_json_string_ext(
        json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    return asprintf(&spec, "json:%s", text) < 0 ? NULL : spec;
}

bool bm_image_direct(const struct bm_image_layer *layers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        BM_CLOSE int fd = open(layers[i].path, O_RDONLY | O_DIRECT | O_CLOEXEC);

        /* Any other error is for QEMU to tell, in its own words. */
        if (fd < 0 && errno == EINVAL)
            return false;
    }
    return true;
}

/* The name of the layer below, for which the header must give a format. */
static int find_backing(const char *top, const char *format, char **backing,
                        struct bm_error *err)
{
    struct bm_image_info info;
    int rc = bm_image_info(top, format, &info, err);

    if (rc != 0)
        return rc;
    if (!info.backing || !info.backing_format) {
        bm_fail(err, EINVAL, "cannot commit %s", top);
        bm_cause(err, info.backing ? "its header names no backing format"
                                   : "it has no backing file");
        rc = -EINVAL;
    } else {
        *backing = BM_STEAL(info.backing);
    }
    bm_image_info_clear(&info);
    return rc;
}

int bm_image_commit(const char *top, const char *top_format, const char *base,
                    struct bm_error *err)
{
    BM_FREE char *name = bm_image_plain_name(top), *backing = NULL;
    const char *argv[] = {"qemu-img", "commit", "-q", "-d", "-f",
                          top_format, "-b",     NULL, name, NULL};
    int rc;

    if (!name)
        return bm_fail_errno(err, ENOMEM, "cannot commit %s", top);
    rc = find_backing(top, top_format, &backing, err);
    if (rc != 0)
        return rc;
    argv[7] = base ? base : backing;
    rc = bm_image_refine(
        bm_child_run(argv, COMMIT_MS, NULL, NULL, NULL, NULL, err), err);
    return rc == 0 ? bm_sync_file(argv[7], err) : rc;
}

int bm_image_rebase_unsafe(const char *path, const char *backing,
                           const char *backing_format, struct bm_error *err)
{
    BM_FREE char *name = bm_image_plain_name(path);
    const char *argv[] = {"qemu-img", "rebase", "-q", "-u",
                          "-f",       "qcow2",  "-b", backing ? backing : "",
                          name,       NULL,     NULL, NULL};
    int rc;

    if (!name)
        return bm_fail_errno(err, ENOMEM, "cannot rebase %s", path);
    if (backing && !backing_format)
        return bm_fail(err, EINVAL, "cannot rebase %s: no backing format",
                       path);
    if (backing) {
        argv[9] = "-F";
        argv[10] = backing_format;
    }
    rc = bm_image_refine(
        bm_child_run(argv, INFO_MS, NULL, NULL, NULL, NULL, err), err);
    return rc == 0 ? bm_sync_file(path, err) : rc;
}

int bm_image_check(const char *path, const char *format, struct bm_error *err)
{
    BM_FREE char *name = bm_image_plain_name(path);
    const char *argv[] = {"qemu-img", "check", "-q", "-f", format, name, NULL};
    int rc, status = 0;

    if (!name)
        return bm_fail_errno(err, ENOMEM, "cannot check %s", path);
    rc = bm_child_run(argv, CHECK_MS, NULL, NULL, &status, NULL, err);
    if (rc != 0)
        return rc;
    switch (status) { /* qemu-img(1), "check" */
    case 0:
    case 3:  /* leaked clusters: room lost, nothing wrong */
    case 63: /* the format has no checks */
        return 0;
    case 2:
        return bm_fail(err, EUCLEAN, "%s has errors by qemu-img check", path);
    default:
        return bm_image_refine(-EIO, err);
    }
}

int bm_image_walk(const char *path, const char *format, bm_image_visit visit,
                  void *opaque, struct bm_error *err)
{
    BM_FREE char *layer = strdup(path);
    BM_FREE char *layer_format = format ? strdup(format) : NULL;
    int rc = 0;

    for (unsigned i = 0; rc == 0 && layer && i < CHAIN_MAX; i++) {
        struct bm_image_info info = {0};

        rc = visit(opaque, i, layer, err);
        if (rc || (layer_format && strcmp(layer_format, "raw") == 0))
            return rc;
        rc = bm_image_info(layer, layer_format, &info, err);
        free(layer);
        free(layer_format);
        layer = BM_STEAL(info.backing);
        layer_format = BM_STEAL(info.backing_format);
        bm_image_info_clear(&info);
    }
    return rc;
}
