// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One rescue that goes on. Private to rescue*.c: rescue.c has the phases,
 * rescue-map.c what is saved, rescue-pass.c what one pass reads,
 * rescue-requests.c the requests in flight, rescue-zeroes.c what need not be
 * read.
 *
 * Threads: one.
 */
#ifndef BM_NBD_RESCUE_RESCUE_PRIVATE_H
#define BM_NBD_RESCUE_RESCUE_PRIVATE_H

#include "nbd/rescue/rescue.h"

#define BM_RESCUE_CLUSTER 65536u     /* what is read at once near trouble */
#define BM_RESCUE_CHUNK (256u << 10) /* and where all goes well, at most */
#define BM_RESCUE_DEPTH 8u           /* then so many reads are in flight */
#define BM_RESCUE_SLOTS 16u          /* reads and writes */
#define BM_RESCUE_SAVE_MS 10000      /* between two saves of the map */
#define BM_RESCUE_CALM 16u           /* good reads until all goes well again */

/* A request to the source, then one to the target with what was read. */
struct bm_rescue_slot {
    struct bm_request req;
    bool bad; /* nothing to write */
};

/* How fast the source was while it was waited for. */
struct bm_rescue_rate {
    uint64_t bytes, ns;         /* of the last second or so */
    uint64_t all_bytes, all_ns; /* before */
};

struct bm_rescue_state {
    const struct bm_rescue *how;
    struct bm_mapfile *map; /* how->map */
    struct bm_rescue_result *result;
    struct bm_queue queues[2]; /* the source's, the target's */
    uint32_t sector, cluster, chunk;

    /* the ring: [writing, reading) are written, [reading, next) are read */
    struct bm_rescue_slot slots[BM_RESCUE_SLOTS];
    size_t writing, reading, next;
    char *buffers;
    unsigned calm; /* good reads since the last bad or slow one */
    struct bm_rescue_rate rate;

    uint64_t window, window_end; /* its zeroes are known */
    bool no_extents;

    struct bm_mapfile safe; /* what is durable: the last map that was saved */
    bool dirty;             /* the map has changed since */
    int64_t save_at, progress_at;
};

/* --- one pass --- */

enum bm_rescue_skip {
    BM_SKIP_NOTHING,
    BM_SKIP_SOME, /* further with each error in a row */
    BM_SKIP_REST, /* of the area */
};

struct bm_rescue_pass {
    enum bm_area status; /* of what is read */
    uint64_t low, high;  /* what is left to read lies in [low, high) */
    bool reverse;        /* from the end */
    bool sectors;        /* one by one; what fails is bad, else untrimmed */
    bool adjacent;       /* only areas that follow something finished */
    bool stop;           /* at the first one that fails */
    bool impatient;      /* skips what is slow too */
    enum bm_rescue_skip skip;
    uint64_t jump; /* bytes that the next error skips */
};

/* 0: all was read that should be, nothing is in flight. */
int bm_rescue_pass_run(struct bm_rescue_state *run, struct bm_rescue_pass *pass,
                       struct bm_error *err);

/* --- requests --- */

/* How many are being read; whether one more may be. */
size_t bm_pipe_reading(const struct bm_rescue_state *run);
bool bm_pipe_has_space(const struct bm_rescue_state *run, size_t depth);
bool bm_pipe_is_idle(const struct bm_rescue_state *run);
int bm_pipe_read(struct bm_rescue_state *run, uint64_t offset, uint64_t length,
                 struct bm_error *err);

/* The outcome of the first read. */
struct bm_rescue_outcome {
    uint64_t offset, length;
    bool bad;
};
/* Waits for the first read; what was read is on its way to the target. An
 * error that is no bad sector is an error. */
int bm_pipe_take(struct bm_rescue_state *run, struct bm_rescue_outcome *outcome,
                 struct bm_error *err);
/* Waits for the first write; it is finished in the map. */
int bm_pipe_retire(struct bm_rescue_state *run, struct bm_error *err);
/* Whether less than the least rate came in the last second. */
bool bm_pipe_is_slow(struct bm_rescue_state *run);
/* After an error: nothing is in flight any more; what was written is finished,
 * what was only read is not. */
void bm_pipe_settle(struct bm_rescue_state *run);

/* --- the rest --- */

int bm_rescue_mark(struct bm_rescue_state *run, uint64_t offset,
                   uint64_t length, enum bm_area status, struct bm_error *err);
/* Finishes the zeroes of the source around offset, without reading. */
int bm_rescue_zeroes(struct bm_rescue_state *run, uint64_t offset,
                     struct bm_error *err);
/* Keeps a copy of the map, of which all is durable now. */
int bm_rescue_keep(struct bm_rescue_state *run, struct bm_error *err);
/* Makes what was rescued durable, and saves the map. Nothing is in flight. */
int bm_rescue_checkpoint(struct bm_rescue_state *run, struct bm_error *err);

#endif
