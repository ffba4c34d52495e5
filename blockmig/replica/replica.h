// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The new image of one disk in the making: frozen views of the disk are
 * written into it, one after the other, while nobody else has it open, and
 * each is proven by reading it back. What is durable, what is proven, and the
 * digests of the view stand in three files of the state directory, so that a
 * process after a kill -9 goes on from there.
 *
 * Threads: one; the copy runs its workers.
 */
#ifndef BM_REPLICA_REPLICA_H
#define BM_REPLICA_REPLICA_H

#include "nbd/digest/digest.h"
#include "nbd/thread/rate-limit.h"
#include "snapshot/domain/chain.h"

/* The last word in `create` when room is to be taken beforehand; alone, for
 * raw. What that costs the file system decides: it may be left out. */
#define BM_REPLICA_PREALLOCATED "preallocation=falloc"

struct bm_replica_how {
    const char *dir, *id, *disk; /* name its files: DIR/ID-DISK.done, ... */
    const struct bm_layer *image;
    uint64_t size;                /* bytes, guest-visible */
    const char *create;           /* qemu-img's -o; NULL: its defaults */
    const struct bm_layer *below; /* its backing file, or NULL */
    unsigned own;  /* BM_REPLICA_OWN: how many of the view's uppermost layers it
                    * takes the place of; 0: one */
    bool relative; /* the backing file is named without its folder, which must
                    * be the image's */
    struct bm_rate_limit *rate_limit; /* or NULL */
    const char
        *map; /* of a rescue, which a bad sector begins; NULL: it stops */
    const char *fill_from; /* an older copy, for what cannot be read; or NULL */
    /* About every 200 ms; non-zero cancels. */
    int (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

/* What a proof found. */
struct bm_replica_proof {
    uint64_t bytes;       /* that were read back */
    uint64_t repaired;    /* that differed, and were written again */
    uint64_t repaired_at; /* the first of them */
    const char *medium;
};

struct bm_replica;

/* Takes up what an earlier process has left; or begins: then the image, which
 * is there and empty, gets its size and format. `how` is the caller's and
 * must stay. */
int bm_replica_open(const struct bm_replica_how *how, struct bm_replica **out,
                    struct bm_error *err);
void bm_replica_close(struct bm_replica *replica); /* accepts NULL */

enum bm_replica_part {
    BM_REPLICA_ALL,   /* what is not there yet of the view */
    BM_REPLICA_OWN,   /* the same, of what the view's uppermost layers hold: the
                       * image is a layer too, on images like those below */
    BM_REPLICA_DELTA, /* what the uppermost layer holds, whatever is there */
};
/* Writes that part of the view. Durable when it returns 0. A bad sector of the
 * view (of a delta: always) is -EIO, and told by guest offset and image. */
int bm_replica_copy(struct bm_replica *replica, const struct bm_chain *view,
                    enum bm_replica_part part, struct bm_error *err);
/* Reads back what was written and not proven yet; writes what differs again,
 * from the same view, and reads that back, twice at most: then -EBADMSG with
 * BM_EXIT_PROOF. */
int bm_replica_prove(struct bm_replica *replica, const struct bm_chain *view,
                     struct bm_replica_proof *proof, struct bm_error *err);

/*
 * An image that is a layer, when its own part was copied: -EBADMSG with
 * BM_EXIT_PROOF when it holds anything where the uppermost layers of the view
 * hold nothing. By blocks of BM_DIGEST_BLOCK.
 */
int bm_replica_bounds(struct bm_replica *replica, const struct bm_chain *view,
                      const struct bm_chain *image, struct bm_error *err);
/*
 * The same, when it is proven, and what is below it too: the digests of what
 * others hold are those of the replica of a layer below; then, of what none of
 * these holds, those of the view. With them all the disk has its digests.
 */
int bm_replica_inherit(struct bm_replica *replica, struct bm_replica *below,
                       struct bm_error *err);
int bm_replica_fill(struct bm_replica *replica, const struct bm_chain *view,
                    struct bm_error *err);

/* What a rescue has left: blocks that could not be read whole are not proven;
 * in them the unreadable bytes, which are zeroes, and filled ones. */
struct bm_replica_gaps {
    size_t ranges;                         /* unreadable or filled */
    uint64_t unreadable, filled, unproven; /* bytes */
};
int bm_replica_find_gaps(const struct bm_replica *replica,
                         struct bm_replica_gaps *out, struct bm_error *err);

/* The view may have changed since parts of it were written: what is not as
 * then counts as not written. */
int bm_replica_recheck(struct bm_replica *replica, const struct bm_chain *view,
                       struct bm_error *err);
/* Nothing of it is taken for proven any more. */
int bm_replica_doubt(struct bm_replica *replica, struct bm_error *err);

/*
 * After the switch: both views are of one instant, and equal but for what
 * the uppermost layer of either holds: that is compared, and noted for
 * bm_replica_again. -EBADMSG with BM_EXIT_PROOF: they differ.
 */
int bm_replica_rest(struct bm_replica *replica, const struct bm_chain *old,
                    const struct bm_chain *new, struct bm_replica_proof *proof,
                    struct bm_error *err);
/* Whether the image alone, now that the layer over it was merged into it,
 * holds what bm_replica_rest saw. -EBADMSG as above. */
int bm_replica_again(struct bm_replica *replica, const struct bm_chain *image,
                     struct bm_error *err);

/* Whether both views hold what was copied, but for the gaps: for a disk that
 * cannot be compared whole. -EBADMSG as above. */
int bm_replica_equal(struct bm_replica *replica, const struct bm_chain *old,
                     const struct bm_chain *new, struct bm_replica_proof *proof,
                     struct bm_error *err);

/* The digest of the view; with gaps, after bm_replica_rest: of the new image.
 */
int bm_replica_root(struct bm_replica *replica, char hex[BM_DIGEST_HEX],
                    struct bm_error *err);

/* The name of the map where none was asked for. Caller frees; NULL: out of
 * memory. */
char *bm_replica_map_name(const char *dir, const char *id, const char *disk);
/* Takes a map away, if it is that of job `id`, of an image of that size. */
int bm_replica_forget_map(const char *path, const char *id, uint64_t size,
                          struct bm_error *err);
/* Takes the other files away. */
int bm_replica_forget(const char *dir, const char *id, const char *disk,
                      struct bm_error *err);

#endif
