// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/image/qemu-img.h"

#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img-private.h"
#include "nbd/base/fsync.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/stat.h>

#define REBASE_MS 30000 /* of one header */
#define CHECK_MS 3600000
#define COMMIT_MS 86400000

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
                                     bool cache_none, const char *locking)
{
    BM_IMAGE_JSON struct json_object *json = json_object_new_object();
    const char *driver = layer->block ? "host_device" : "file";

    if (!json || add(json, "driver", json_object_new_string(driver)) != 0 ||
        add(json, "filename", json_object_new_string(layer->path)) != 0 ||
        add(json, "locking", json_object_new_string(locking)) != 0)
        return NULL;
    if (cache_none) {
        struct json_object *cache = json_object_new_object();

        if (add(json, "cache", cache) != 0 ||
            add(cache, "direct", json_object_new_boolean(1)) != 0)
            return NULL;
    }
    return BM_STEAL(json);
}

static int add_slice(struct json_object *raw, uint64_t size)
{
    return add(raw, "offset", json_object_new_int64(0)) != 0 ||
                   add(raw, "size", json_object_new_uint64(size)) != 0
               ? -ENOMEM
               : 0;
}

/* From the bottom up, so that each layer holds the one below it. */
static struct json_object *chain_spec(const struct bm_image_layer *layers,
                                      size_t n, bool cache_none,
                                      const char *locking)
{
    BM_IMAGE_JSON struct json_object *below = NULL;

    for (size_t i = n; i-- > 0;) {
        BM_IMAGE_JSON struct json_object *json = json_object_new_object();
        const char *format = layers[i].format;
        bool raw = strcmp(format, "raw") == 0;

        if (!json || add(json, "driver", json_object_new_string(format)) != 0 ||
            add(json, "file", file_spec(&layers[i], cache_none, locking)) != 0)
            return NULL;
        if (layers[i].slice && add_slice(json, layers[i].slice) != 0)
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

/* NULL: out of memory. */
static char *spec_text(struct json_object *json)
{
    const char *text;
    char *spec;

    if (!json)
        return NULL;
    text = json_object_to_json_string_ext(
        json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    return asprintf(&spec, "json:%s", text) < 0 ? NULL : spec;
}

char *bm_image_spec(const struct bm_image_layer *layers, size_t n,
                    bool cache_none)
{
    BM_IMAGE_JSON struct json_object *json =
        chain_spec(layers, n, cache_none, "auto");

    return spec_text(json);
}

char *bm_image_spec_shared(const struct bm_image_layer *layers, size_t n,
                           bool cache_none)
{
    BM_IMAGE_JSON struct json_object *json =
        chain_spec(layers, n, cache_none, "off");

    return spec_text(json);
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
    int rc = bm_image_read_info(top, format, &info, err);

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

struct commit_context {
    bm_image_tick tick;
    void *opaque;
    unsigned done; /* thousandths */
};

/* "    (12.34/100%)" */
static int commit_tick(void *opaque, const char *line)
{
    struct commit_context *commit = opaque;
    double percent;

    if (line && sscanf(line, " (%lf/100%%)", &percent) == 1 && percent >= 0 &&
        percent <= 100)
        commit->done = (unsigned)(percent * 10);
    return commit->tick ? commit->tick(commit->opaque, commit->done) : 0;
}

int bm_image_commit_at(const char *top, const char *top_format,
                       const char *base, uint64_t rate, bm_image_tick tick,
                       void *opaque, struct bm_error *err)
{
    BM_FREE char *name = bm_image_plain_name(top), *backing = NULL;
    struct commit_context commit = {tick, opaque, 0};
    char limit[32];
    const char *argv[12] = {"qemu-img", "commit", "-p", "-d", "-f", top_format};
    int rc, n = 6;

    if (!name)
        return bm_fail_errno(err, ENOMEM, "cannot commit %s", top);
    rc = find_backing(top, top_format, &backing, err);
    if (rc != 0)
        return rc;
    if (base) {
        argv[n++] = "-b";
        argv[n++] = base;
    }
    if (rate) {
        snprintf(limit, sizeof limit, "%" PRIu64, rate);
        argv[n++] = "-r";
        argv[n++] = limit;
    }
    argv[n++] = name;
    rc = bm_image_refine(
        bm_child_run(argv, COMMIT_MS, commit_tick, &commit, NULL, NULL, err),
        err);
    /* qemu-img flushes; a slice has no name that could be synced besides */
    if (rc == 0 && (base || strncmp(backing, "json:", 5) != 0))
        rc = bm_fsync_file(base ? base : backing, err);
    return rc;
}

int bm_image_commit(const char *top, const char *top_format, const char *base,
                    struct bm_error *err)
{
    return bm_image_commit_at(top, top_format, base, 0, NULL, NULL, err);
}

char *bm_image_backing_name(const struct bm_image_layer *layer)
{
    BM_IMAGE_JSON struct json_object *json = NULL;
    struct json_object *raw;
    char *name;

    if (!layer->slice)
        return strdup(layer->path);
    json = json_object_new_object();
    raw = json_object_new_object();
    if (add(json, "file", raw) != 0 ||
        add(raw, "driver", json_object_new_string("raw")) != 0 ||
        add_slice(raw, layer->slice) != 0 ||
        add(raw, "file", file_spec(layer, false, "auto")) != 0)
        return NULL;
    return asprintf(&name, "json:%s",
                    json_object_to_json_string_ext(
                        json, JSON_C_TO_STRING_PLAIN |
                                  JSON_C_TO_STRING_NOSLASHESCAPE)) < 0
               ? NULL
               : name;
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
        bm_child_run(argv, REBASE_MS, NULL, NULL, NULL, NULL, err), err);
    return rc == 0 ? bm_fsync_file(path, err) : rc;
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
