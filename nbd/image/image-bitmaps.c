// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/image/image-bitmaps.h"

#include "nbd/exec/run-program.h"
#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img-private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The bitmap of a disk of many TiB is some MiB to read and to write. */
#define BITMAP_MS 600000

void bm_image_bitmaps_clear(struct bm_image_bitmaps *bitmaps)
{
    for (size_t i = 0; i < bitmaps->n; i++)
        free(bitmaps->list[i].name);
    free(bitmaps->list);
    memset(bitmaps, 0, sizeof *bitmaps);
}

const struct bm_image_bitmap *
bm_image_bitmaps_find(const struct bm_image_bitmaps *bitmaps, const char *name)
{
    for (size_t i = 0; i < bitmaps->n; i++)
        if (!strcmp(bitmaps->list[i].name, name))
            return &bitmaps->list[i];
    return NULL;
}

/* --- reading --- */

static bool has_flag(struct json_object *bitmap, const char *flag)
{
    struct json_object *flags;

    if (!json_object_object_get_ex(bitmap, "flags", &flags) ||
        !json_object_is_type(flags, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(flags); i++)
        if (!strcmp(json_object_get_string(json_object_array_get_idx(flags, i)),
                    flag))
            return true;
    return false;
}

static int read_one(struct json_object *json, struct bm_image_bitmap *out)
{
    struct json_object *name, *granularity;

    if (!json_object_object_get_ex(json, "name", &name) ||
        !json_object_is_type(name, json_type_string) ||
        !json_object_object_get_ex(json, "granularity", &granularity))
        return -EBADMSG;
    out->name = strdup(json_object_get_string(name));
    out->granularity = json_object_get_uint64(granularity);
    out->enabled = has_flag(json, "auto");
    out->broken = has_flag(json, "in-use");
    return out->name ? 0 : -ENOMEM;
}

static int read_all(struct json_object *array, struct bm_image_bitmaps *out)
{
    size_t n = json_object_array_length(array);
    int rc = 0;

    out->list = calloc(n + 1, sizeof *out->list);
    if (!out->list)
        return -ENOMEM;
    for (size_t i = 0; !rc && i < n; i++)
        rc =
            read_one(json_object_array_get_idx(array, i), &out->list[out->n++]);
    return rc;
}

int bm_image_bitmaps_read(const char *path, const char *format,
                          struct bm_image_bitmaps *out, struct bm_error *err)
{
    BM_IMAGE_JSON struct json_object *json = NULL;
    struct json_object *specific, *data, *array;
    int rc;

    memset(out, 0, sizeof *out);
    if (strcmp(format, "qcow2") != 0)
        return 0;
    rc = bm_image_info_json(path, format, &json, err);
    if (rc || !json_object_object_get_ex(json, "format-specific", &specific) ||
        !json_object_object_get_ex(specific, "data", &data) ||
        !json_object_object_get_ex(data, "bitmaps", &array) ||
        !json_object_is_type(array, json_type_array))
        return rc;
    rc = read_all(array, out);
    if (!rc)
        return 0;
    bm_image_bitmaps_clear(out);
    return bm_fail_errno(err, -rc, "cannot read the bitmaps of %s", path);
}

/* --- changing --- */

/* Runs `qemu-img bitmap OPTION... -f qcow2 -- PATH NAME`. */
static int change(const char *const options[], size_t n, const char *path,
                  const char *name, struct bm_error *err)
{
    BM_FREE char *plain = bm_image_plain_name(path);
    const char *argv[20] = {"qemu-img", "bitmap"};
    size_t used = 2;

    if (!plain)
        return bm_fail_errno(err, ENOMEM, "cannot change bitmap %s", name);
    for (size_t i = 0; i < n; i++)
        argv[used++] = options[i];
    argv[used++] = "-f";
    argv[used++] = "qcow2";
    argv[used++] = "--";
    argv[used++] = plain;
    argv[used++] = name;
    argv[used] = NULL;
    return bm_image_refine(
        bm_child_run(argv, BITMAP_MS, NULL, NULL, NULL, NULL, err), err);
}

int bm_image_bitmap_take(const char *path, const struct bm_image_bitmap *bitmap,
                         const char *from, bool add, struct bm_error *err)
{
    BM_FREE char *plain = bm_image_plain_name(from);
    char granularity[32];
    const char *options[10] = {"--merge", bitmap->name, "-b",
                               plain,     "-F",         "qcow2"};
    size_t n = 6;

    snprintf(granularity, sizeof granularity, "%" PRIu64, bitmap->granularity);
    if (!plain)
        return bm_fail_errno(err, ENOMEM, "cannot take over bitmap %s",
                             bitmap->name);
    if (add) {
        /* in this order: it is made, filled, and as it shall be */
        const char *const first[] = {"--add",
                                     bitmap->enabled ? "--enable" : "--disable",
                                     "-g", granularity};

        memmove(options + 4, options, n * sizeof *options);
        memcpy(options, first, sizeof first);
        n += 4;
    }
    return change(options, n, path, bitmap->name, err);
}

int bm_image_bitmap_remove(const char *path, const char *name,
                           struct bm_error *err)
{
    static const char *const options[] = {"--remove"};

    return change(options, 1, path, name, err);
}
