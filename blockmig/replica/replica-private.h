// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A stage at work, for the files stage*.c.
 */
#ifndef BM_REPLICA_REPLICA_PRIVATE_H
#define BM_REPLICA_REPLICA_PRIVATE_H

#include "blockmig/replica/replica.h"
#include "blockmig/image/frozen-chain.h"
#include "nbd/digest/manifest.h"
#include "nbd/copy/scan.h"

enum bm_stage_file {
    BM_STAGE_DONE,
    BM_STAGE_PROVEN,
    BM_STAGE_DIGESTS,
    BM_STAGE_REST,
    BM_STAGE_FILES
};

struct bm_stage {
    const struct bm_stage_how *how;
    char *files[BM_STAGE_FILES];
    struct bm_bitmap *done;   /* durable in the image, or written */
    struct bm_bitmap *proven; /* read back */
    struct bm_manifest *digests;
    bool fresh; /* the image was just made: it reads as zeroes */
    uint64_t unread_at, unread; /* a bad sector ended the copy in there */
    uint64_t passed;            /* bytes, as progress was told last */
};

/* The file is there, and whatever is in it goes. */
int bm_stage_make(const struct bm_stage *stage, struct bm_error *err);
int bm_stage_save(struct bm_stage *stage, struct bm_error *err);
/* Neither done nor proven any more; not saved yet. */
int bm_stage_unmark(struct bm_stage *stage, const struct bm_bitmap *what,
                    struct bm_error *err);
/* The image, for writing or for reading back; around the page cache where
 * that can be. */
int bm_stage_write(struct bm_stage *stage, struct bm_device **out,
                   struct bm_error *err);
int bm_stage_read(struct bm_stage *stage, struct bm_device **out,
                  struct bm_error *err);
int bm_stage_copy_blocks(struct bm_stage *stage, const struct bm_view *view,
                         const struct bm_bitmap *only, struct bm_error *err);
/* Of the disk's blocks; NULL: out of memory. */
struct bm_bitmap *bm_stage_bitmap(const struct bm_stage *stage);
/* The proof has failed: these blocks of `path` are `why`. -EBADMSG. */
int bm_stage_failed(const struct bm_stage *stage,
                    const struct bm_bitmap *differ, const char *path,
                    const char *why, struct bm_error *err);
int bm_stage_no_memory(const struct bm_stage *stage, struct bm_error *err);
/* The same from a source that may have bad sectors; how->map is set. */
int bm_stage_rescue(struct bm_stage *stage, const struct bm_view *view,
                    const struct bm_bitmap *only, struct bm_error *err);
/* Whether a rescue has begun. */
bool bm_stage_has_map(const struct bm_stage *stage);
/* Of a rescue: the guest has written all of these blocks anew, and they are, or
 * will be, in the new image: done, and no longer bad. */
int bm_stage_heal(struct bm_stage *stage, const struct bm_bitmap *blocks,
                  struct bm_error *err);
/* Tells the bad sector that ended a copy: -EIO. dev is the view; base: it is
 * what a rescue could read. */
int bm_stage_unread(struct bm_stage *stage, const struct bm_chain *chain,
                    struct bm_device *dev, bool base, struct bm_error *err);
/* A scan with the stage's pace and progress. */
struct bm_scan bm_stage_scan(struct bm_stage *stage, struct bm_device *device,
                             const struct bm_bitmap *only);

/* As of how->own. */
unsigned bm_stage_own(const struct bm_stage *stage);

#endif
