// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The names of backing files, as headers have them.
 */
#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img-private.h"
#include "nbd/image/qemu-img.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CHAIN_MAX 200u /* layers; libvirt stops there too */

/* The file of a json: name, as its nested or its dotted form has it. What
 * names a backing file besides cannot be followed: -EINVAL. */
static int find_file(struct json_object *json, const char **out)
{
    int rc = 0;

    if (!json_object_is_type(json, json_type_object))
        return 0;
    json_object_object_foreach(json, key, value)
    {
        const char *dot = strrchr(key, '.');

        if (!strncmp(key, "backing", 7) && value)
            return -EINVAL;
        if (!strcmp(dot ? dot + 1 : key, "filename") && !*out)
            *out = json_object_get_string(value);
        else
            rc = find_file(value, out);
        if (rc)
            return rc;
    }
    return 0;
}

static int from_json(const char *text, char **out)
{
    BM_IMAGE_JSON struct json_object *json = json_tokener_parse(text);
    const char *file = NULL;
    int rc = json ? find_file(json, &file) : -EINVAL;

    if (rc || !file)
        return rc;
    *out = strdup(file);
    return *out ? 0 : -ENOMEM;
}

/* scheme:..., as QEMU takes it: letters and digits, and no slash before the
 * colon. */
static bool has_protocol(const char *name)
{
    size_t len = strcspn(name, ":/");

    return len && name[len] == ':';
}

int bm_image_name_file(const char *name, char **out)
{
    *out = NULL;
    if (!strncmp(name, "json:", 5))
        return from_json(name + 5, out);
    if (!strncmp(name, "file:", 5))
        name += 5;
    else if (has_protocol(name))
        return 0;
    *out = strdup(name);
    return *out ? 0 : -ENOMEM;
}

/* NULL in *out: it stands on none, or on one over a network. */
static int stands_on(const char *path, const struct bm_image_info *info,
                     char **out, struct bm_error *err)
{
    int rc = info->backing ? bm_image_name_file(info->backing, out) : 0;

    if (!rc)
        return 0;
    bm_fail_errno(err, -rc, "cannot see what %s stands on", path);
    if (rc == -EINVAL)
        bm_cause(err, "the name of its backing file");
    return rc;
}

int bm_image_below(const char *path, const char *format, char **out,
                   struct bm_error *err)
{
    struct bm_image_info info;
    int rc;

    *out = NULL;
    if (bm_image_names_none(path, format))
        return 0;
    rc = bm_image_read_info(path, format, &info, err);
    if (rc)
        return access(path, F_OK) != 0 && errno == ENOENT ? 0 : rc;
    rc = stands_on(path, &info, out, err);
    bm_image_info_clear(&info);
    return rc;
}

/* To the file that the header means; over a network, to its name. */
static int step_down(char **layer, char **format, struct bm_error *err)
{
    struct bm_image_info info;
    char *below = NULL;
    int rc = bm_image_read_info(*layer, *format, &info, err);

    if (!rc)
        rc = stands_on(*layer, &info, &below, err);
    if (!rc) {
        free(*layer);
        free(*format);
        *layer = below ? below : BM_STEAL(info.backing);
        *format = BM_STEAL(info.backing_format);
    }
    bm_image_info_clear(&info);
    return rc;
}

int bm_image_walk(const char *path, const char *format, bm_image_visit visit,
                  void *opaque, struct bm_error *err)
{
    BM_FREE char *layer = strdup(path);
    BM_FREE char *layer_format = format ? strdup(format) : NULL;
    int rc = 0;

    for (unsigned i = 0; rc == 0 && layer && i < CHAIN_MAX; i++) {
        rc = visit(opaque, i, layer, err);
        if (rc || (layer_format && strcmp(layer_format, "raw") == 0))
            return rc;
        rc = step_down(&layer, &layer_format, err);
    }
    return rc;
}
