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
#ifndef BM_STAGE_H
#define BM_STAGE_H

#include "nbd/digest.h"
#include "nbd/throttle.h"
#include "snapshot/chain.h"

struct bm_stage_how {
    const char *dir, *id, *disk; /* name its files: DIR/ID-DISK.done, ... */
    const struct bm_layer *image;
    uint64_t size;                /* bytes, guest-visible */
    struct bm_throttle *throttle; /* or NULL */
    /* About every 200 ms; non-zero cancels. */
    int (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

/* What a proof found. */
struct bm_stage_proof {
    uint64_t bytes;       /* that were read back */
    uint64_t repaired;    /* that differed, and were written again */
    uint64_t repaired_at; /* the first of them */
    const char *medium;
};

struct bm_stage;

/* Takes up what an earlier process has left; or begins: then the image, which
 * is there and empty, gets its size and format. `how` is the caller's and
 * must stay. */
int bm_stage_open(const struct bm_stage_how *how, struct bm_stage **out,
                  struct bm_error *err);
void bm_stage_close(struct bm_stage *stage); /* accepts NULL */

/* Writes what is not there yet of the view; or, delta: what its uppermost
 * layer holds, whatever is there. Durable when it returns 0. */
int bm_stage_copy(struct bm_stage *stage, const struct bm_chain *view,
                  bool delta, struct bm_error *err);
/* Reads back what was written and not proven yet; writes what differs again,
 * from the same view, and reads that back, twice at most: then -EBADMSG with
 * BM_EXIT_PROOF. */
int bm_stage_prove(struct bm_stage *stage, const struct bm_chain *view,
                   struct bm_stage_proof *proof, struct bm_error *err);

/* Nothing of it is taken for proven any more. */
int bm_stage_doubt(struct bm_stage *stage, struct bm_error *err);

/*
 * After the switch: both views are of one instant, and equal but for what
 * the uppermost layer of either holds: that is compared, and noted for
 * bm_stage_again. -EBADMSG with BM_EXIT_PROOF: they differ.
 */
int bm_stage_rest(struct bm_stage *stage, const struct bm_chain *old,
                  const struct bm_chain *new, struct bm_stage_proof *proof,
                  struct bm_error *err);
/* Whether the image alone, now that the layer over it was merged into it,
 * holds what bm_stage_rest saw. -EBADMSG as above. */
int bm_stage_again(struct bm_stage *stage, const struct bm_chain *image,
                   struct bm_error *err);

/* The digest of the view. */
int bm_stage_root(struct bm_stage *stage, char hex[BM_DIGEST_HEX],
                  struct bm_error *err);

/* Takes the files away. */
int bm_stage_forget(const char *dir, const char *id, const char *disk,
                    struct bm_error *err);

#endif
