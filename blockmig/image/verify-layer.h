// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Whether a frozen layer is byte for byte what it was: the guest's view at it
 * is read and held against its manifest, or that is made. In the background of
 * everything else: without locks, so that nobody waits for it, and given up
 * when a job begins.
 */
#ifndef BM_IMAGE_VERIFY_LAYER_H
#define BM_IMAGE_VERIFY_LAYER_H

#include "blockmig/image/manifest-store.h"
#include "nbd/base/range.h"
#include "snapshot/domain/chain.h"

struct bm_rate_limit;

enum bm_verified {
    BM_VERIFIED_NOTED, /* there was no manifest: there is now */
    BM_VERIFIED_SAME,
    BM_VERIFIED_DIFFERS,
    BM_VERIFIED_ACCEPTED, /* it differs, and that is right from now on */
};

struct bm_verify {
    struct bm_manifest_store manifests;
    struct bm_rate_limit *rate_limit; /* or NULL */
    bool accept;                      /* what differs is right, from now on */
    /* About every 200 ms; non-zero stops it with ECANCELED. Or NULL. */
    int (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

struct bm_verify_result {
    enum bm_verified verified;
    char digest[BM_DIGEST_HEX]; /* of the view as it is */
    uint64_t different;         /* bytes in ranges */
    struct bm_range *ranges;    /* ascending, merged */
    size_t n;
    const char *medium;
};
void bm_verify_result_clear(struct bm_verify_result *result);

/* view: the layer, and all below it. -EAGAIN: it was changed while it was read,
 * so nothing can be said. */
int bm_verify_layer(const struct bm_verify *how, const struct bm_chain *view,
                    struct bm_verify_result *result, struct bm_error *err);

#endif
