// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A frozen view: a chain that nobody writes, open for reading, and held with
 * QEMU's own "write not shared" lock on every layer, so that nobody changes it
 * while we read.
 */
#ifndef BM_IMAGE_FROZEN_CHAIN_H
#define BM_IMAGE_FROZEN_CHAIN_H

#include "nbd/map/bitmap.h"
#include "nbd/device/device.h"
#include "snapshot/domain/chain.h"

struct bm_frozen_chain {
    struct bm_device *device;
    int *locks;
    size_t n_locks;
};

#define BM_FROZEN_CHAIN                                                        \
    __attribute__((cleanup(bm_frozen_chain_close))) struct bm_frozen_chain

/* Requests in flight where no guest at work is to be spared: two a core, and
 * eight at least, so that the medium has something to do while digests are
 * computed. On two cores a copy of 8 GiB took 11 s with four, as libvirt's, and
 * 15 s with two, its proof 5.8 and 7.1 s; the copy of a merge of 200 MiB took
 * 0.235 s with two, 0.215 s with four, 0.206 s with eight. */
unsigned bm_frozen_chain_queues(void);

/* depth: how many of the uppermost layers BM_MAP_DIRTY tells of; 0: not asked
 * for. -EBUSY: someone has a layer open for writing. */
int bm_frozen_chain_open(const struct bm_chain *chain, unsigned depth,
                         struct bm_frozen_chain *out, struct bm_error *err);
/* The same without any lock, where the lowest layers are being written to: only
 * what the others hold can be relied upon. */
int bm_frozen_chain_open_beside(const struct bm_chain *chain, unsigned depth,
                                struct bm_frozen_chain *out,
                                struct bm_error *err);
/* Accepts one that is all zero, or was closed. */
void bm_frozen_chain_close(struct bm_frozen_chain *view);

/* Sets what the uppermost layers hold. */
int bm_frozen_chain_dirty(const struct bm_frozen_chain *view,
                          struct bm_bitmap *into, struct bm_error *err);
/* And says how many bytes that is, exactly. */
int bm_frozen_chain_allocated(const struct bm_frozen_chain *view,
                              struct bm_bitmap *into, uint64_t *held,
                              struct bm_error *err);

#endif
