// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading a failing source, by ddrescue's phases (its manual, "Algorithm"):
 * copy what reads easily first, skipping what fails or is slow; then trim the
 * edges of what is left, scrape its middle, and try the bad sectors again.
 * The source is touched as little as possible: what is finished in the map is
 * never read again, and a sector at most twice before the retries. Zero runs
 * (extents) are finished without reading. A lost connection is not a bad
 * sector: nothing is marked.
 */
#ifndef BM_NBD_RESCUE_RESCUE_H
#define BM_NBD_RESCUE_RESCUE_H

#include "nbd/device/device.h"
#include "nbd/map/mapfile.h"
#include "nbd/thread/rate-limit.h"

struct bm_rescue {
    struct bm_device *source, *target; /* borrowed; queue 0 of each is used */
    struct bm_mapfile *map;            /* borrowed; of the source's size */
    unsigned retries;                  /* passes over bad sectors, 0: none */
    uint64_t min_rate; /* bytes a second below which an area is slow and is
                        * skipped at first; 0: a tenth of the average */
    struct bm_rate_limit *rate_limit; /* or NULL */
    /* What was read, before it is written; data NULL: zeroes that were not
     * read. Or NULL. */
    int (*took)(void *opaque, uint64_t offset, uint64_t length,
                const void *data, struct bm_error *err);
    /* After what was rescued was flushed on the target: save the map. Called
     * about every 10 s, and at the end of each phase. */
    int (*save)(void *opaque, struct bm_error *err);
    /* About every 200 ms; non-zero stops with -ECANCELED, after a save. */
    int (*progress)(void *opaque, const struct bm_mapfile *map);
    void *opaque;
};

/* What it did to the source. */
struct bm_rescue_result {
    uint64_t rescued; /* bytes finished, in the map */
    uint64_t bad;     /* bytes not finished */
    uint64_t reads;   /* requests sent to the source */
    uint64_t errors;  /* that failed */
};

/* 0 when all phases are through, also with bad areas left. Negative errno: the
 * source was lost, the target failed, or it was stopped; the map is true and
 * saved all the same: if the target cannot be flushed, or the source was cut
 * off meanwhile, it is taken back to what was last saved. */
int bm_rescue_run(struct bm_rescue *rescue, struct bm_rescue_result *result,
                  struct bm_error *err);

#endif
