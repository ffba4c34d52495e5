// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A replica at work, for the files replica*.c.
 */
#ifndef BM_REPLICA_REPLICA_PRIVATE_H
#define BM_REPLICA_REPLICA_PRIVATE_H

#include "blockmig/replica/replica.h"
#include "blockmig/image/frozen-chain.h"
#include "nbd/digest/manifest.h"
#include "nbd/copy/scan.h"

enum bm_replica_file {
    BM_REPLICA_DONE,
    BM_REPLICA_PROVEN,
    BM_REPLICA_DIGESTS,
    BM_REPLICA_REST,
    BM_REPLICA_FILES
};

struct bm_replica {
    const struct bm_replica_how *how;
    char *files[BM_REPLICA_FILES];
    struct bm_bitmap *done;   /* durable in the image, or written */
    struct bm_bitmap *proven; /* read back */
    struct bm_manifest *digests;
    bool fresh; /* the image was just made: it reads as zeroes */
    uint64_t unread_at, unread; /* a bad sector ended the copy in there */
    uint64_t passed;            /* bytes, as progress was told last */
};

/* The file is there, and whatever is in it goes. */
int bm_replica_make(const struct bm_replica *replica, struct bm_error *err);
int bm_replica_save(struct bm_replica *replica, struct bm_error *err);
/* Neither done nor proven any more; not saved yet. */
int bm_replica_unmark(struct bm_replica *replica, const struct bm_bitmap *what,
                      struct bm_error *err);
/* The image, for writing or for reading back; around the page cache where
 * that can be. */
int bm_replica_write(struct bm_replica *replica, struct bm_device **out,
                     struct bm_error *err);
int bm_replica_read(struct bm_replica *replica, struct bm_device **out,
                    struct bm_error *err);
int bm_replica_copy_blocks(struct bm_replica *replica,
                           const struct bm_frozen_chain *view,
                           const struct bm_bitmap *only, struct bm_error *err);
/* Of the disk's blocks; NULL: out of memory. */
struct bm_bitmap *bm_replica_bitmap(const struct bm_replica *replica);
/* The proof has failed: these blocks of `path` are `why`. -EBADMSG. */
int bm_replica_failed(const struct bm_replica *replica,
                      const struct bm_bitmap *differ, const char *path,
                      const char *why, struct bm_error *err);
int bm_replica_no_memory(const struct bm_replica *replica,
                         struct bm_error *err);
/* The same from a source that may have bad sectors; how->map is set. */
int bm_replica_rescue(struct bm_replica *replica,
                      const struct bm_frozen_chain *view,
                      const struct bm_bitmap *only, struct bm_error *err);
/* Whether a rescue has begun. */
bool bm_replica_has_map(const struct bm_replica *replica);
/* Of a rescue: the guest has written all of these blocks anew, and they are, or
 * will be, in the new image: done, and no longer bad. */
int bm_replica_heal(struct bm_replica *replica, const struct bm_bitmap *blocks,
                    struct bm_error *err);
/* Tells the bad sector that ended a copy: -EIO. dev is the view; base: it is
 * what a rescue could read. */
int bm_replica_unread(struct bm_replica *replica, const struct bm_chain *chain,
                      struct bm_device *dev, bool base, struct bm_error *err);
/* A scan with the replica's pace and progress. */
struct bm_scan bm_replica_scan(struct bm_replica *replica,
                               struct bm_device *device,
                               const struct bm_bitmap *only);

/* As of how->own. */
unsigned bm_replica_own(const struct bm_replica *replica);

#endif
