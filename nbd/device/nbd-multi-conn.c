// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/nbd-multi-conn.h"

#include "nbd/device/nbd-unaligned.h"
#include "nbd/device/nbd-private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 256 KiB fits the caches, which beats fewer requests (performance.md, B7);
 * a server that prefers more has a reason, up to a point. */
#define CHUNK (256u << 10)
#define CHUNK_MAX (4u << 20)
#define SECTOR 512u
#define BITMAP "qemu:dirty-bitmap:"
#define DEPTH "qemu:allocation-depth"

static struct bm_lanes *lanes_of(struct bm_device *dev)
{
    return (struct bm_lanes *)dev;
}

/* A name with a colon is a whole meta context. */
static char *dirty_context(const char *dirty)
{
    const char *prefix = strchr(dirty, ':') ? "" : BITMAP;
    char *context;

    return asprintf(&context, "%s%s", prefix, dirty) < 0 ? NULL : context;
}

int bm_lanes_init(struct bm_lanes *lanes, const char *name,
                  const struct bm_open *how, struct bm_error *err)
{
    pthread_mutex_init(&lanes->ragged, NULL);
    if (how->lanes > BM_LANES_MAX)
        return bm_fail_errno(err, EINVAL, "cannot open %s", name);
    lanes->dev.name = strdup(name);
    if (how->depth)
        lanes->dirty = strdup(DEPTH);
    else if (how->dirty)
        lanes->dirty = dirty_context(how->dirty);
    if (!lanes->dev.name || ((how->dirty || how->depth) && !lanes->dirty))
        return bm_fail_errno(err, ENOMEM, "cannot open %s", name);
    lanes->dial = (struct bm_dial){
        .name = lanes->dev.name,
        .dirty = lanes->dirty,
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

static uint32_t choose_chunk(const struct bm_facts *facts)
{
    uint32_t chunk = CHUNK;

    if (facts->preferred > chunk)
        chunk = facts->preferred < CHUNK_MAX ? facts->preferred : CHUNK_MAX;
    if (chunk > facts->maximum)
        chunk = facts->maximum;
    return power_below(chunk);
}

static int check_facts(const struct bm_lanes *lanes, const struct bm_open *how,
                       const struct bm_facts *facts, struct bm_error *err)
{
    const char *name = lanes->dev.name;

    if (how->write && facts->read_only) {
        bm_fail(err, EROFS, "cannot write to %s", name);
        return bm_cause(err, "the server offers it for reading only"), -EROFS;
    }
    if (lanes->dirty && !facts->has_dirty) {
        bm_fail(err, ENOENT, "cannot read the bitmap of %s", name);
        bm_cause(err, "the server has no %s", lanes->dirty);
        return -ENOENT;
    }
    return 0;
}

static int check_sizes(const struct bm_lanes *lanes, struct bm_error *err)
{
    for (unsigned i = 1; i < lanes->dev.lanes; i++)
        if (bm_link_facts(lanes->links[i])->size != lanes->dev.size) {
            bm_fail(err, EIO, "cannot open %s", lanes->dev.name);
            bm_cause(err, "its size is another on each connection");
            return -EIO;
        }
    return 0;
}

int bm_lanes_agree(struct bm_lanes *lanes, const struct bm_open *how,
                   struct bm_error *err)
{
    const struct bm_facts *facts = bm_link_facts(lanes->links[0]);
    struct bm_device *dev = &lanes->dev;
    int rc = check_facts(lanes, how, facts, err);

    if (rc != 0)
        return rc;
    dev->size = facts->size;
    dev->chunk = choose_chunk(facts);
    dev->sector = facts->minimum > SECTOR ? facts->minimum : SECTOR;
    dev->writable = how->write;
    dev->can_zero = facts->can_zero;
    return check_sizes(lanes, err);
}

void bm_lanes_clear(struct bm_lanes *lanes)
{
    for (unsigned i = 0; i < BM_LANES_MAX; i++)
        bm_link_free(lanes->links[i]);
    pthread_mutex_destroy(&lanes->ragged);
    free(lanes->dirty);
    free(lanes->dev.name);
}

/* The first error is the one that counts. */
static void note_write_error(struct bm_lanes *lanes, int error)
{
    int none = 0;

    if (error)
        atomic_compare_exchange_strong(&lanes->write_error, &none, error);
}

/* After each turn of a link: any may have ended a write. */
static void note_writes(struct bm_lanes *lanes, unsigned lane)
{
    note_write_error(lanes, bm_link_write_error(lanes->links[lane]));
}

int bm_lanes_submit(struct bm_device *dev, unsigned lane,
                    struct bm_request *req, struct bm_error *err)
{
    struct bm_lanes *lanes = lanes_of(dev);
    struct bm_link *link = lanes->links[lane];
    bool ragged = bm_is_ragged(bm_link_facts(link), req);
    int rc = ragged ? bm_ragged_write(link, &lanes->ragged, req, err)
                    : bm_link_submit(link, req, err);

    if (ragged && rc == 0) /* also where the read before it failed */
        note_write_error(lanes, req->error);
    note_writes(lanes, lane);
    return rc;
}

int64_t bm_lanes_poll(struct bm_device *dev, unsigned lane, struct pollfd *pfd)
{
    return bm_link_poll(lanes_of(dev)->links[lane], pfd);
}

int bm_lanes_notify(struct bm_device *dev, unsigned lane, short revents,
                    bool late, struct bm_error *err)
{
    struct bm_lanes *lanes = lanes_of(dev);
    int rc = bm_link_notify(lanes->links[lane], revents, late, err);

    note_writes(lanes, lane);
    return rc;
}

int bm_lanes_extents(struct bm_device *dev, unsigned lane, enum bm_map map,
                     uint64_t offset, uint64_t len, struct bm_extent *runs,
                     size_t max, size_t *n, struct bm_error *err)
{
    struct bm_lanes *lanes = lanes_of(dev);
    int rc = bm_link_extents(lanes->links[lane], map, offset, len, runs, max, n,
                             err);

    note_writes(lanes, lane);
    return rc;
}

int bm_lanes_flush(struct bm_device *dev, unsigned lane, struct bm_error *err)
{
    struct bm_lanes *lanes = lanes_of(dev);
    int rc = bm_link_flush(lanes->links[lane], err), error;

    note_write_error(lanes, -rc);
    note_writes(lanes, lane);
    error = atomic_load(&lanes->write_error);
    if (error == -rc)
        return rc; /* in the link's own words */
    return bm_fail_errno(err, error, "cannot flush %s", dev->name);
}
