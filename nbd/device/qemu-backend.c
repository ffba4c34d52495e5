// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* An image that a qemu-nbd of our own reads, and writes, for us. */
#include "nbd/device/backends.h"

#include "nbd/base/cleanup.h"
#include "nbd/device/nbd-multi-conn.h"
#include "nbd/image/qemu-nbd.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/stat.h>

#define BITMAP "qemu:dirty-bitmap:"
#define SECTOR 512 /* QEMU rounds a raw file up to these */

/* A layer's file as it was before the server opened it. */
struct witness {
    int fd; /* O_PATH */
    off_t size;
};

struct image_device {
    struct bm_multi_conn queues; /* first */
    struct bm_server server;
    struct witness *witnesses;
    size_t n_witnesses;
};

static const struct image_device *image_of(const struct bm_device *dev)
{
    return (const struct image_device *)dev;
}

static void close_image(struct bm_device *dev)
{
    struct image_device *image = (struct image_device *)dev;

    bm_multi_conn_clear(&image->queues);
    bm_server_stop(&image->server);
    for (size_t i = 0; i < image->n_witnesses; i++)
        (void)close(image->witnesses[i].fd);
    free(image->witnesses);
    free(image);
}

static int check_intact(const struct bm_device *dev, struct bm_error *err)
{
    const struct image_device *image = image_of(dev);

    for (size_t i = 0; i < image->n_witnesses; i++) {
        const struct witness *w = &image->witnesses[i];
        struct stat st;

        if (fstat(w->fd, &st) != 0)
            return bm_fail_errno(err, errno, "cannot read %s", dev->name);
        if (st.st_size < w->size) {
            bm_fail(err, EIO, "cannot read %s", dev->name);
            return bm_cause(err, "layer %zu was truncated meanwhile", i), -EIO;
        }
    }
    return 0;
}

static const struct bm_device_ops image_ops = {
    .submit = bm_multi_conn_submit,
    .poll = bm_multi_conn_poll,
    .notify = bm_multi_conn_notify,
    .extents = bm_multi_conn_extents,
    .flush = bm_multi_conn_flush,
    .intact = check_intact,
    .close = close_image,
};

pid_t bm_device_server_pid(const struct bm_device *dev)
{
    return dev->ops == &image_ops ? image_of(dev)->server.process.pid : 0;
}

static void cleanup_image(struct image_device **image)
{
    if (*image)
        close_image(&(*image)->queues.dev);
}
#define OWN_DEVICE __attribute__((cleanup(cleanup_image)))

static int add_witness(struct image_device *image, const char *path,
                       struct bm_error *err)
{
    struct witness *w = &image->witnesses[image->n_witnesses];
    struct stat st;

    w->fd = open(path, O_PATH | O_CLOEXEC);
    if (w->fd < 0)
        return bm_fail_errno(err, errno, "cannot open %s", path);
    image->n_witnesses++;
    if (fstat(w->fd, &st) != 0)
        return bm_fail_errno(err, errno, "cannot open %s", path);
    w->size = st.st_size;
    return 0;
}

static int add_witnesses(struct image_device *image,
                         const struct bm_image_layer *layers, size_t n,
                         struct bm_error *err)
{
    int rc = 0;

    image->witnesses = calloc(n, sizeof *image->witnesses);
    if (!image->witnesses)
        return bm_fail_errno(err, ENOMEM, "cannot open %s", layers[0].path);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = add_witness(image, layers[i].path, err);
    return rc;
}

/* Gives all sockets to links, or closes those that are left. */
static int make_links(struct bm_multi_conn *queues, const int socks[],
                      struct bm_error *err)
{
    int rc = 0;

    for (unsigned i = 0; i < queues->dev.queues; i++)
        if (rc == 0)
            rc = bm_nbd_new(&queues->target, socks[i], &queues->conns[i], err);
        else
            (void)close(socks[i]);
    return rc;
}

/* QEMU's words for a bitmap that is not there are its own. */
static int explain(struct image_device *image, struct bm_error *err)
{
    int rc = bm_server_explain(&image->server, image->queues.dev.name, err);

    if (err && image->queues.dirty && rc == -EIO &&
        strstr(err->cause, "itmap") && strstr(err->cause, "not found"))
        err->code = ENOENT;
    return err ? -err->code : rc;
}

/* A server that cannot open its image may end before, or while, we connect. */
static int connect_all(struct image_device *image, const int socks[],
                       struct bm_error *err)
{
    struct bm_multi_conn *queues = &image->queues;
    int64_t deadline = bm_now_ms() + queues->target.connect_ms;
    int rc = make_links(queues, socks, err);

    for (unsigned i = 0; rc == 0 && i < queues->dev.queues; i++)
        rc = bm_nbd_wait_ready(queues->conns[i], deadline, err);
    return rc == 0 || rc == -ETIMEDOUT ? rc : explain(image, err);
}

/* What is served, and from which files. */
struct source {
    const struct bm_image_layer *layers;
    size_t n;
    struct bm_serve serve;
    bool direct;
};

static int start(struct image_device *image, const struct source *source,
                 const struct bm_open *how, struct bm_error *err)
{
    struct bm_multi_conn *queues = &image->queues;
    int socks[BM_QUEUES_MAX];
    int rc = add_witnesses(image, source->layers, source->n, err);

    queues->dev.queues = how->queues ? how->queues : 1;
    if (rc == 0)
        rc = bm_server_start(&source->serve, socks, queues->dev.queues,
                             &image->server, err);
    if (rc == 0)
        rc = connect_all(image, socks, err);
    return rc == 0 ? bm_multi_conn_agree(queues, how, err) : rc;
}

static int open_source(const struct source *source, const struct bm_open *how,
                       struct bm_device **out, struct bm_error *err)
{
    OWN_DEVICE struct image_device *image =
        source->serve.spec ? calloc(1, sizeof *image) : NULL;
    int rc;

    if (!image)
        return bm_fail_errno(err, ENOMEM, "cannot open %s",
                             source->layers[0].path);
    image->server = (struct bm_server)BM_SERVER_INIT;
    image->queues.dev.ops = &image_ops;
    image->queues.dev.zeroed = how->zeroed;
    image->queues.dev.medium = source->direct ? "medium" : "cache";
    rc = bm_multi_conn_init(&image->queues, source->layers[0].path, how, err);
    if (rc == 0)
        rc = start(image, source, how, err);
    if (rc == 0)
        *out = &BM_STEAL(image)->queues.dev;
    return rc;
}

static void put_json(struct json_object **json)
{
    json_object_put(*json);
}

/* Owns value, also when it fails; NULL: memory was short. */
static int add(struct json_object *json, const char *key,
               struct json_object *value)
{
    if (json && value && json_object_object_add(json, key, value) == 0)
        return 0;
    json_object_put(value);
    return -ENOMEM;
}

/* As bm_image_spec, but what its header says of a backing file goes. */
static char *make_spec(const struct bm_image_layer *layer,
                       const struct bm_open *how)
{
    __attribute__((cleanup(put_json))) struct json_object *json =
        json_object_new_object();
    struct json_object *file = json_object_new_object(), *cache;
    const char *driver = layer->block ? "host_device" : "file";
    char *spec;

    if (add(json, "file", file) != 0 ||
        add(json, "driver", json_object_new_string(layer->format)) != 0 ||
        add(file, "driver", json_object_new_string(driver)) != 0 ||
        add(file, "filename", json_object_new_string(layer->path)) != 0 ||
        add(json, "force-share", json_object_new_boolean(how->share)) != 0)
        return NULL;
    if (how->direct) {
        cache = json_object_new_object();
        if (add(file, "cache", cache) != 0 ||
            add(cache, "direct", json_object_new_boolean(true)) != 0)
            return NULL;
    }
    return asprintf(&spec, "json:%s", json_object_to_json_string(json)) < 0
               ? NULL
               : spec;
}

/* The bitmap's name where it was given as a meta context. */
static const char *bitmap_name(const char *dirty)
{
    if (dirty && strncmp(dirty, BITMAP, strlen(BITMAP)) == 0)
        return dirty + strlen(BITMAP);
    return dirty;
}

int bm_device_qemu_open(const char *path, const struct bm_open *how,
                        struct bm_device **out, struct bm_error *err)
{
    struct bm_image_layer layer = {.path = path, .format = how->format};
    BM_FREE char *spec = NULL;
    struct stat st;

    if (stat(path, &st) != 0)
        return bm_fail_errno(err, errno, "cannot open %s", path);
    layer.block = S_ISBLK(st.st_mode);
    spec = make_spec(&layer, how);
    struct source source = {
        .layers = &layer,
        .n = 1,
        .serve = {.spec = spec,
                  .bitmap = bitmap_name(how->dirty),
                  .depth = how->depth > 0,
                  .write = how->write},
        .direct = how->direct,
    };
    return open_source(&source, how, out, err);
}

static int open_chain(const struct bm_image_layer *layers, size_t n,
                      const struct bm_open *how, struct bm_device **out,
                      struct bm_error *err)
{
    BM_FREE char *spec = how->share
                             ? bm_image_spec_shared(layers, n, how->direct)
                             : bm_image_spec(layers, n, how->direct);
    struct source source = {.layers = layers,
                            .n = n,
                            .serve = {.spec = spec, .depth = how->depth > 0},
                            .direct = how->direct};

    return open_source(&source, how, out, err);
}

/* What QEMU would only hand through is read by ourselves, which is much
 * faster. But not a unaligned file: its guest sees whole sectors. */
static bool is_plain(const struct bm_image_layer *layers, size_t n)
{
    struct stat st;

    return n == 1 && strcmp(layers[0].format, "raw") == 0 && !layers[0].slice &&
           stat(layers[0].path, &st) == 0 && st.st_size % SECTOR == 0;
}

/* Not locked: bm_frozen_lock is the caller's, as for every raw layer. */
static int open_plain(const char *path, const struct bm_open *chain,
                      struct bm_device **out, struct bm_error *err)
{
    struct bm_open how = {.format = "raw",
                          .queues = chain->queues,
                          .direct = chain->direct,
                          .share = true};

    return bm_device_file_open(path, &how, out, err);
}

static int open_layers(const struct bm_image_layer *layers, size_t n,
                       const struct bm_open *how, struct bm_device **out,
                       struct bm_error *err)
{
    return is_plain(layers, n) ? open_plain(layers[0].path, how, out, err)
                               : open_chain(layers, n, how, out, err);
}

/* O_DIRECT where every layer takes it. */
static int open_either(const struct bm_image_layer *layers, size_t n,
                       struct bm_open *how, struct bm_device **out,
                       struct bm_error *err)
{
    struct bm_error scratch = BM_ERROR_INIT;
    struct bm_error *e = err ? err : &scratch;
    int rc;

    if (n == 0)
        return bm_fail_errno(e, EINVAL, "cannot open an image");
    how->direct = bm_image_direct(layers, n);
    rc = open_layers(layers, n, how, out, e);
    if (rc != -EINVAL || !how->direct)
        return rc;
    how->direct = false; /* open took O_DIRECT, a probe did not */
    return open_layers(layers, n, how, out, e);
}

int bm_device_open_chain(const struct bm_image_layer *layers, size_t n,
                         unsigned queues, unsigned depth,
                         struct bm_device **out, struct bm_error *err)
{
    struct bm_open how = {.queues = queues, .depth = depth};

    return open_either(layers, n, &how, out, err);
}

int bm_device_open_image(const struct bm_image_layer *layers, size_t n,
                         unsigned queues, struct bm_device **out,
                         struct bm_error *err)
{
    return bm_device_open_chain(layers, n, queues, 0, out, err);
}

int bm_device_open_shared(const struct bm_image_layer *layers, size_t n,
                          unsigned queues, unsigned depth,
                          struct bm_device **out, struct bm_error *err)
{
    struct bm_open how = {.queues = queues, .depth = depth, .share = true};

    return open_either(layers, n, &how, out, err);
}
