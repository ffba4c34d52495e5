// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device.h"

#include "nbd/cleanup.h"
#include "nbd/server.h"
#include "nbd/units.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_CONNECTIONS 64u
/* What one bm_device_pread keeps in flight: QEMU serves 16 requests of a
 * connection at once, and cache-sized ones are the fastest. */
#define PIECE ((size_t)256 << 10)
#define DEPTH 8

/* A layer's file as it was before the server opened it. */
struct witness {
    int fd; /* O_PATH */
    off_t size;
};

struct bm_device {
    char *name; /* of the active layer, for messages */
    struct witness *witnesses;
    size_t n_witnesses;
    struct bm_server server;
    uint64_t size;
    bool direct;
    unsigned n_links;
    struct bm_link *links[]; /* each used by one thread at a time */
};

static struct bm_device *new_device(const char *name, unsigned n)
{
    struct bm_device *dev =
        calloc(1, sizeof *dev + n * sizeof(struct bm_link *));

    if (!dev)
        return NULL;
    dev->server = (struct bm_server)BM_SERVER_INIT;
    dev->n_links = n;
    dev->name = strdup(name);
    if (!dev->name)
        free(BM_STEAL(dev));
    return dev;
}

void bm_device_close(struct bm_device *dev)
{
    if (!dev)
        return;
    for (unsigned i = 0; i < dev->n_links; i++)
        bm_link_free(dev->links[i]);
    bm_server_stop(&dev->server);
    for (size_t i = 0; i < dev->n_witnesses; i++)
        (void)close(dev->witnesses[i].fd);
    free(dev->witnesses);
    free(dev->name);
    free(dev);
}

static void close_device(struct bm_device **dev)
{
    bm_device_close(*dev);
}

static int add_witnesses(struct bm_device *dev,
                         const struct bm_image_layer *layers, size_t n,
                         struct bm_error *err)
{
    dev->witnesses = calloc(n, sizeof *dev->witnesses);
    if (!dev->witnesses)
        return bm_fail_errno(err, ENOMEM, "cannot open %s", dev->name);
    for (size_t i = 0; i < n; i++) {
        struct witness *w = &dev->witnesses[i];
        struct stat st;

        w->fd = open(layers[i].path, O_PATH | O_CLOEXEC);
        if (w->fd < 0)
            return bm_fail_errno(err, errno, "cannot open %s", layers[i].path);
        dev->n_witnesses++;
        if (fstat(w->fd, &st) != 0)
            return bm_fail_errno(err, errno, "cannot open %s", layers[i].path);
        w->size = st.st_size;
    }
    return 0;
}

int bm_device_intact(const struct bm_device *dev, struct bm_error *err)
{
    for (size_t i = 0; i < dev->n_witnesses; i++) {
        struct stat st;

        if (fstat(dev->witnesses[i].fd, &st) != 0)
            return bm_fail_errno(err, errno, "cannot read %s", dev->name);
        if (st.st_size < dev->witnesses[i].size) {
            bm_fail(err, EIO, "cannot read %s", dev->name);
            return bm_cause(err, "layer %zu was truncated meanwhile", i), -EIO;
        }
    }
    return 0;
}

/* Gives all sockets to links, or closes those that are left. */
static int make_links(struct bm_device *dev, const int socks[],
                      struct bm_error *err)
{
    int rc = 0;

    for (unsigned i = 0; i < dev->n_links; i++)
        if (rc == 0)
            rc = bm_link_new(socks[i], dev->name, &dev->links[i], err);
        else
            (void)close(socks[i]);
    return rc;
}

static int shake_hands(struct bm_device *dev, struct bm_error *err)
{
    int64_t deadline = bm_now_ms() + BM_LINK_CONNECT_MS;
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < dev->n_links; i++)
        rc = bm_link_wait_ready(dev->links[i], deadline, err);
    if (rc != 0)
        return rc == -ETIMEDOUT
                   ? rc
                   : bm_server_explain(&dev->server, dev->name, err);
    dev->size = bm_link_size(dev->links[0]);
    return 0;
}

static int open_once(const struct bm_image_layer *layers, size_t n,
                     unsigned connections, bool direct, struct bm_device **out,
                     struct bm_error *err)
{
    BM_FREE char *spec = bm_image_spec(layers, n, direct);
    __attribute__((cleanup(close_device))) struct bm_device *dev =
        new_device(layers[0].path, connections);
    int socks[MAX_CONNECTIONS], rc;

    if (!spec || !dev)
        return bm_fail_errno(err, ENOMEM, "cannot open %s", layers[0].path);
    dev->direct = direct;
    rc = add_witnesses(dev, layers, n, err);
    if (rc == 0)
        rc = bm_server_start(spec, socks, connections, &dev->server, err);
    if (rc == 0)
        rc = make_links(dev, socks, err);
    if (rc == 0)
        rc = shake_hands(dev, err);
    if (rc == 0)
        *out = BM_STEAL(dev);
    return rc;
}

int bm_device_open_image(const struct bm_image_layer *layers, size_t n,
                         unsigned connections, struct bm_device **out,
                         struct bm_error *err)
{
    struct bm_error scratch = BM_ERROR_INIT;
    struct bm_error *e = err ? err : &scratch;
    bool direct;
    int rc;

    if (n == 0 || connections == 0 || connections > MAX_CONNECTIONS)
        return bm_fail_errno(e, EINVAL, "cannot open an image");
    direct = bm_image_direct(layers, n);
    rc = open_once(layers, n, connections, direct, out, e);
    if (rc == -EINVAL && direct) /* open took O_DIRECT, QEMU's probe did not */
        rc = open_once(layers, n, connections, false, out, e);
    return rc;
}

uint64_t bm_device_size(const struct bm_device *dev)
{
    return dev->size;
}

unsigned bm_device_connections(const struct bm_device *dev)
{
    return dev->n_links;
}

const char *bm_device_medium(const struct bm_device *dev)
{
    return dev->direct ? "medium" : "cache";
}

struct bm_link *bm_device_link(struct bm_device *dev, unsigned connection)
{
    return connection < dev->n_links ? dev->links[connection] : NULL;
}

pid_t bm_device_server_pid(const struct bm_device *dev)
{
    return dev->server.process.pid;
}

static int wait_one(struct bm_link *link, struct bm_read *rd,
                    struct bm_error *err)
{
    return bm_link_wait(&link, &rd, 1, err);
}

/* After a failure: no more into the caller's buffer. */
static void settle(struct bm_link *link, const struct bm_read reads[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (reads[i].buf && !reads[i].done)
            bm_link_abandon(link);
}

static int submit_piece(struct bm_link *link, struct bm_read *rd, char *buf,
                        size_t len, uint64_t offset, struct bm_error *err)
{
    *rd = (struct bm_read){.buf = buf, .len = len, .offset = offset};
    if (len > PIECE)
        rd->len = PIECE;
    int rc = bm_link_submit(link, rd, err);
    if (rc != 0)
        rd->done = true; /* nothing is in flight */
    return rc;
}

static int read_pieces(struct bm_link *link, char *buf, size_t len,
                       uint64_t offset, struct bm_error *err)
{
    struct bm_read reads[DEPTH] = {{.buf = NULL}};
    size_t asked = 0, first = 0, next = 0;
    int rc = 0;

    while (rc == 0 && (asked < len || first < next)) {
        if (asked < len && next - first < DEPTH) {
            struct bm_read *rd = &reads[next++ % DEPTH];

            rc = submit_piece(link, rd, buf + asked, len - asked,
                              offset + asked, err);
            asked += rd->len;
        } else {
            rc = wait_one(link, &reads[first++ % DEPTH], err);
        }
    }
    if (rc != 0)
        settle(link, reads, DEPTH);
    return rc;
}

int bm_device_pread(struct bm_device *dev, unsigned connection, void *buf,
                    size_t len, uint64_t offset, struct bm_error *err)
{
    int rc;

    if (connection >= dev->n_links || len > dev->size ||
        offset > dev->size - len)
        return bm_fail_errno(err, EINVAL, "cannot read %zu bytes of %s", len,
                             dev->name);
    rc = read_pieces(dev->links[connection], buf, len, offset, err);
    return rc == 0 ? bm_device_intact(dev, err) : rc;
}

int bm_device_extents(struct bm_device *dev, unsigned connection,
                      uint64_t offset, uint64_t len, struct bm_extent *runs,
                      size_t max, size_t *n, struct bm_error *err)
{
    if (connection >= dev->n_links)
        return bm_fail_errno(err, EINVAL, "cannot read %s", dev->name);
    return bm_link_extents(dev->links[connection], offset, len, runs, max, n,
                           err);
}
