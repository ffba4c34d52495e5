// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The manifests of frozen layers, in the state directory: the digests of the
 * guest's view at a layer, and which file that was (its path, inode, size and
 * time of change). So it can be told later whether it is still that.
 *
 * STATE/manifests/UUID/KEY.manifest and KEY.json; the key is a digest of the
 * path.
 */
#ifndef BM_IMAGE_MANIFEST_STORE_H
#define BM_IMAGE_MANIFEST_STORE_H

#include "nbd/digest/manifest.h"

#include <stdint.h>

enum bm_kept {
    BM_KEPT_NONE,    /* no manifest */
    BM_KEPT_SAME,    /* of this very file, unchanged as far as stat(2) tells */
    BM_KEPT_CHANGED, /* the file is another one, or was written to since */
    BM_KEPT_WRONG,   /* a verify has found it to differ */
};

/* Those of one domain. */
struct bm_manifest_store {
    const char *dir;  /* the state directory; borrowed */
    const char *uuid; /* borrowed */
};

int bm_manifest_store_look(const struct bm_manifest_store *manifests,
                           const char *image, enum bm_kept *out,
                           struct bm_error *err);
/* A finished manifest. -ENOENT: there is none. */
int bm_manifest_store_open(const struct bm_manifest_store *manifests,
                           const char *image, struct bm_manifest **out,
                           struct bm_error *err);
/* Keeps a finished one, for the file as it is now. */
int bm_manifest_store_put(const struct bm_manifest_store *manifests,
                          const char *image, const struct bm_manifest *manifest,
                          struct bm_error *err);
/* What was written to the file since was us, or is right. wrong: it is not.
 * Without a manifest: nothing. */
int bm_manifest_store_stamp(const struct bm_manifest_store *manifests,
                            const char *image, bool wrong,
                            struct bm_error *err);
/* The view at `from` is that at `to` now. */
int bm_manifest_store_hand(const struct bm_manifest_store *manifests,
                           const char *from, const char *to,
                           struct bm_error *err);
int bm_manifest_store_forget(const struct bm_manifest_store *manifests,
                             const char *image, struct bm_error *err);

#endif
