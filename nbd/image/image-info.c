// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What an image is, as qemu-img tells it.
 */
#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img-private.h"
#include "nbd/image/qemu-img.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* An image's metadata is read in milliseconds; a dead NFS server takes for
 * ever. */
#define INFO_MS 30000

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

static int ask(const char *path, const char *format, char **text,
               struct bm_error *err)
{
    BM_FREE char *name = bm_image_plain_name(path);
    const char *argv[] = {"qemu-img", "info", "-U", "--output=json",
                          name,       NULL,   NULL, NULL};

    if (!name)
        return bm_fail_errno(err, ENOMEM, "cannot examine %s", path);
    if (format) {
        argv[5] = "-f";
        argv[6] = format;
    }
    return bm_image_refine(
        bm_child_run(argv, INFO_MS, NULL, NULL, NULL, text, err), err);
}

int bm_image_info_json(const char *path, const char *format,
                       struct json_object **out, struct bm_error *err)
{
    struct stat st;
    bool settled = bm_image_settled(path, &st);
    BM_FREE char *text = settled ? bm_image_recall(path, format, &st) : NULL;
    int rc = 0;

    if (!text) {
        rc = ask(path, format, &text, err);
        if (rc == 0 && settled)
            bm_image_remember(path, format, &st, text);
    }
    if (rc != 0)
        return rc;
    *out = json_tokener_parse(text);
    return *out ? 0 : unreadable(path, EBADMSG, err);
}

int bm_image_read_info(const char *path, const char *format,
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
