// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/frozen-chain.h"

#include "nbd/base/cleanup.h"
#include "nbd/image/image-lock.h"

#include <errno.h>
#include <string.h>

#define LANES_LEAST 8
#define RUNS 128

void bm_frozen_chain_close(struct bm_frozen_chain *view)
{
    bm_device_close(view->device);
    for (size_t i = 0; i < view->n_locks; i++)
        (void)close(view->locks[i]);
    free(view->locks);
    memset(view, 0, sizeof *view);
}

static int lock_layers(struct bm_frozen_chain *view,
                       const struct bm_chain *chain, struct bm_error *err)
{
    view->locks = calloc(chain->n, sizeof *view->locks);
    if (!view->locks)
        return bm_fail_errno(err, ENOMEM, "cannot lock the images");
    for (size_t i = 0; i < chain->n; i++) {
        int fd = bm_frozen_lock(chain->layers[i].path, err);

        if (fd < 0)
            return fd;
        view->locks[view->n_locks++] = fd;
    }
    return 0;
}

unsigned bm_frozen_chain_queues(void)
{
    unsigned queues = 2 * bm_device_lanes();

    if (queues < LANES_LEAST)
        return LANES_LEAST;
    return queues < BM_QUEUES_MAX ? queues : BM_QUEUES_MAX;
}

int bm_frozen_chain_open(const struct bm_chain *chain, unsigned depth,
                         struct bm_frozen_chain *out, struct bm_error *err)
{
    BM_FREE struct bm_image_layer *images = NULL;
    int rc = bm_chain_images(chain, &images, err);

    memset(out, 0, sizeof *out);
    if (!rc)
        rc = lock_layers(out, chain, err);
    if (!rc)
        rc = bm_device_open_chain(images, chain->n, bm_frozen_chain_queues(),
                                  depth, &out->device, err);
    if (rc)
        bm_frozen_chain_close(out);
    return rc;
}

int bm_frozen_chain_open_beside(const struct bm_chain *chain, unsigned depth,
                                struct bm_frozen_chain *out,
                                struct bm_error *err)
{
    BM_FREE struct bm_image_layer *images = NULL;
    int rc = bm_chain_images(chain, &images, err);

    memset(out, 0, sizeof *out);
    return rc ? rc
              : bm_device_open_shared(images, chain->n,
                                      bm_frozen_chain_queues(), depth,
                                      &out->device, err);
}

int bm_frozen_chain_allocated(const struct bm_frozen_chain *view,
                              struct bm_bitmap *into, uint64_t *held,
                              struct bm_error *err)
{
    uint64_t at = 0, size = view->device->size;
    struct bm_extent runs[RUNS];
    int rc = 0;

    *held = 0;
    while (!rc && at < size) {
        size_t n = 0;

        rc = bm_device_extents(view->device, 0, BM_MAP_DIRTY, at, size - at,
                               runs, RUNS, &n, err);
        for (size_t i = 0; !rc && i < n; i++) {
            if (!runs[i].zero) {
                bm_bitmap_set(into, runs[i].offset, runs[i].length);
                *held += runs[i].length;
            }
            at = runs[i].offset + runs[i].length;
        }
    }
    return rc;
}

int bm_frozen_chain_dirty(const struct bm_frozen_chain *view,
                          struct bm_bitmap *into, struct bm_error *err)
{
    uint64_t held;

    return bm_frozen_chain_allocated(view, into, &held, err);
}
