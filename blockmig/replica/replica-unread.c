// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A copy met a bad sector: which one, and of which image. */
#include "blockmig/replica/replica-private.h"
#include "nbd/base/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define SECTOR 512u

/* The first piece of [at, end) that cannot be read, in steps; end: all of it
 * can be, this time. */
static uint64_t first_bad(struct bm_device *dev, char *buf, uint64_t at,
                          uint64_t end, uint64_t step)
{
    for (uint64_t next; at < end; at = next) {
        next = (at / step + 1) * step;
        if (next > end)
            next = end;
        if (bm_device_pread(dev, 0, buf, (size_t)(next - at), at, NULL) != 0)
            return at;
    }
    return end;
}

static uint64_t find_bad(const struct bm_replica *replica,
                         struct bm_device *dev)
{
    BM_FREE char *buf = aligned_alloc(BM_BUFFER_ALIGN, BM_DIGEST_BLOCK);
    uint32_t sector = dev->sector > SECTOR ? dev->sector : SECTOR;
    uint64_t end = replica->unread_at + replica->unread, at, stop;

    if (!buf)
        return replica->unread_at;
    at = first_bad(dev, buf, replica->unread_at, end, BM_DIGEST_BLOCK);
    if (at == end)
        return replica->unread_at;
    stop = end - at > BM_DIGEST_BLOCK ? at + BM_DIGEST_BLOCK : end;
    end = first_bad(dev, buf, at, stop, sector);
    return end < stop ? end : at;
}

/* The uppermost layer that holds the sector. */
static const struct bm_layer *holder(const struct bm_chain *chain, uint64_t at)
{
    for (size_t depth = 1; depth < chain->n; depth++) {
        BM_FROZEN_CHAIN view = {0};
        struct bm_extent run;
        size_t n = 0;

        if (bm_frozen_chain_open(chain, (unsigned)depth, &view, NULL) != 0 ||
            bm_device_extents(view.device, 0, BM_MAP_DIRTY, at, 1, &run, 1, &n,
                              NULL) != 0)
            break;
        if (n && !run.zero)
            return &chain->layers[depth - 1];
    }
    return &chain->layers[chain->n - 1];
}

int bm_replica_unread(struct bm_replica *replica, const struct bm_chain *chain,
                      struct bm_device *dev, bool base, struct bm_error *err)
{
    uint64_t at = find_bad(replica, dev);

    /* a layer of vda has vda.1 for a name */
    bm_fail(err, EIO, "cannot read disk %.*s at guest offset %" PRIu64,
            (int)strcspn(replica->how->disk, "."), replica->how->disk, at);
    bm_cause(err, "%s: %s", holder(chain, at)->path, strerror(EIO));
    if (base && !replica->how->map)
        bm_remedy(err, "with --on-read-error rescue all that can be read is "
                       "moved, and the rest listed");
    return -EIO;
}
