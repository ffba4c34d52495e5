// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/nbd-multi-conn.h"

#include "nbd/device/nbd-unaligned.h"
#include "nbd/device/nbd-private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 256 KiB fits the caches, which beats fewer requests (docs/pitfalls.md P82);
 * a server that prefers more has a reason, up to a point. */
#define CHUNK (256u << 10)
#define CHUNK_MAX (4u << 20)
#define SECTOR 512u
#define BITMAP "qemu:dirty-bitmap:"
#define DEPTH "qemu:allocation-depth"

static struct bm_multi_conn *lanes_of(struct bm_device *dev)
{
    return (struct bm_multi_conn *)dev;
}

/* A name with a colon is a whole meta context. */
static char *dirty_context(const char *dirty)
{
    const char *prefix = strchr(dirty, ':') ? "" : BITMAP;
    char *context;

    return asprintf(&context, "%s%s", prefix, dirty) < 0 ? NULL : context;
}

int bm_multi_conn_init(struct bm_multi_conn *queues, const char *name,
                       const struct bm_open *how, struct bm_error *err)
{
    pthread_mutex_init(&queues->unaligned, NULL);
    if (how->queues > BM_QUEUES_MAX)
        return bm_fail_errno(err, EINVAL, "cannot open %s", name);
    queues->dev.name = strdup(name);
    if (how->depth)
        queues->dirty = strdup(DEPTH);
    else if (how->dirty)
        queues->dirty = dirty_context(how->dirty);
    if (!queues->dev.name || ((how->dirty || how->depth) && !queues->dirty))
        return bm_fail_errno(err, ENOMEM, "cannot open %s", name);
    queues->target = (struct bm_nbd_target){
        .name = queues->dev.name,
        .dirty = queues->dirty,
        .depth = how->depth,
        .connect_ms = how->connect_ms ? how->connect_ms : BM_CONNECT_MS,
        .progress_ms = how->progress_ms ? how->progress_ms : BM_PROGRESS_MS,
    };
    return 0;
}

static uint32_t power_below(uint32_t n)
{
    uint32_t power = 1;

    while (power <= n / 2)
        power *= 2;
    return power;
}

static uint32_t choose_chunk(const struct bm_nbd_facts *facts)
{
    uint32_t chunk = CHUNK;

    if (facts->preferred > chunk)
        chunk = facts->preferred < CHUNK_MAX ? facts->preferred : CHUNK_MAX;
    if (chunk > facts->maximum)
        chunk = facts->maximum;
    return power_below(chunk);
}

static int check_facts(const struct bm_multi_conn *queues,
                       const struct bm_open *how,
                       const struct bm_nbd_facts *facts, struct bm_error *err)
{
    const char *name = queues->dev.name;

    if (how->write && facts->read_only) {
        bm_fail(err, EROFS, "cannot write to %s", name);
        return bm_cause(err, "the server offers it for reading only"), -EROFS;
    }
    if (queues->dirty && !facts->has_dirty) {
        bm_fail(err, ENOENT, "cannot read the bitmap of %s", name);
        bm_cause(err, "the server has no %s", queues->dirty);
        return -ENOENT;
    }
    return 0;
}

static int check_sizes(const struct bm_multi_conn *queues, struct bm_error *err)
{
    for (unsigned i = 1; i < queues->dev.queues; i++)
        if (bm_nbd_facts_of(queues->conns[i])->size != queues->dev.size) {
            bm_fail(err, EIO, "cannot open %s", queues->dev.name);
            bm_cause(err, "its size is another on each connection");
            return -EIO;
        }
    return 0;
}

int bm_multi_conn_agree(struct bm_multi_conn *queues, const struct bm_open *how,
                        struct bm_error *err)
{
    const struct bm_nbd_facts *facts = bm_nbd_facts_of(queues->conns[0]);
    struct bm_device *dev = &queues->dev;
    int rc = check_facts(queues, how, facts, err);

    if (rc != 0)
        return rc;
    dev->size = facts->size;
    dev->chunk = choose_chunk(facts);
    dev->sector = facts->minimum > SECTOR ? facts->minimum : SECTOR;
    dev->writable = how->write;
    dev->can_zero = facts->can_zero;
    return check_sizes(queues, err);
}

void bm_multi_conn_clear(struct bm_multi_conn *queues)
{
    for (unsigned i = 0; i < BM_QUEUES_MAX; i++)
        bm_nbd_free(queues->conns[i]);
    pthread_mutex_destroy(&queues->unaligned);
    free(queues->dirty);
    free(queues->dev.name);
}

/* The first error is the one that counts. */
static void note_write_error(struct bm_multi_conn *queues, int error)
{
    int none = 0;

    if (error)
        atomic_compare_exchange_strong(&queues->write_error, &none, error);
}

/* After each turn of a link: any may have ended a write. */
static void note_writes(struct bm_multi_conn *queues, unsigned queue)
{
    note_write_error(queues, bm_nbd_write_error(queues->conns[queue]));
}

int bm_multi_conn_submit(struct bm_device *dev, unsigned queue,
                         struct bm_request *req, struct bm_error *err)
{
    struct bm_multi_conn *queues = lanes_of(dev);
    struct bm_nbd *conn = queues->conns[queue];
    bool unaligned = bm_is_unaligned(bm_nbd_facts_of(conn), req);
    int rc = unaligned ? bm_unaligned_write(conn, &queues->unaligned, req, err)
                       : bm_nbd_submit(conn, req, err);

    if (unaligned && rc == 0) /* also where the read before it failed */
        note_write_error(queues, req->error);
    note_writes(queues, queue);
    return rc;
}

int64_t bm_multi_conn_poll(struct bm_device *dev, unsigned queue,
                           struct pollfd *pfd)
{
    return bm_nbd_poll(lanes_of(dev)->conns[queue], pfd);
}

int bm_multi_conn_notify(struct bm_device *dev, unsigned queue, short revents,
                         bool late, struct bm_error *err)
{
    struct bm_multi_conn *queues = lanes_of(dev);
    int rc = bm_nbd_notify(queues->conns[queue], revents, late, err);

    note_writes(queues, queue);
    return rc;
}

int bm_multi_conn_extents(struct bm_device *dev, unsigned queue,
                          enum bm_map map, uint64_t offset, uint64_t len,
                          struct bm_extent *runs, size_t max, size_t *n,
                          struct bm_error *err)
{
    struct bm_multi_conn *queues = lanes_of(dev);
    int rc = bm_nbd_extents(queues->conns[queue], map, offset, len, runs, max,
                            n, err);

    note_writes(queues, queue);
    return rc;
}

int bm_multi_conn_flush(struct bm_device *dev, unsigned queue,
                        struct bm_error *err)
{
    struct bm_multi_conn *queues = lanes_of(dev);
    int rc = bm_nbd_flush(queues->conns[queue], err), error;

    note_write_error(queues, -rc);
    note_writes(queues, queue);
    error = atomic_load(&queues->write_error);
    if (error == -rc)
        return rc; /* in the link's own words */
    return bm_fail_errno(err, error, "cannot flush %s", dev->name);
}
