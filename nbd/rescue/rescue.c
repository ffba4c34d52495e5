// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/rescue/rescue-private.h"

#include "nbd/base/units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COPY_PASSES 5u
#define SECTOR 512u

/* --- the phases --- */

static int end_phase(struct bm_rescue_state *run, int rc, struct bm_error *err)
{
    return rc == 0 && run->dirty ? bm_rescue_checkpoint(run, err) : rc;
}

static bool has(const struct bm_rescue_state *run, enum bm_area status)
{
    uint64_t offset, length;

    return bm_mapfile_next(run->map, status, 0, run->map->size, &offset,
                           &length);
}

/* Says in the map what is done. A pass that was interrupted goes on where it
 * was, the others begin at their end of the device. */
static void begin(struct bm_rescue_state *run, struct bm_rescue_pass *pass,
                  char phase, unsigned number, bool again)
{
    struct bm_mapfile *map = run->map;

    pass->low = 0;
    pass->high = map->size;
    if (again && pass->reverse && map->current < map->size)
        pass->high = map->current;
    if (again && !pass->reverse)
        pass->low = map->current;
    map->phase = phase;
    map->pass = number;
    map->current = pass->reverse ? pass->high : pass->low;
}

/* Where the map says it was, or the first one. */
static unsigned first_pass(const struct bm_rescue_state *run, char phase)
{
    return run->map->phase == phase && run->map->pass > 0 ? run->map->pass : 1;
}

/* Forwards past what fails; back, to find the ends of what was skipped; both
 * ways on from what is finished; at last all that is left. */
static const struct bm_rescue_pass copy_passes[COPY_PASSES] = {
    {.skip = BM_SKIP_SOME, .impatient = true},
    {.skip = BM_SKIP_REST, .impatient = true, .reverse = true},
    {.skip = BM_SKIP_REST, .adjacent = true},
    {.skip = BM_SKIP_REST, .adjacent = true, .reverse = true},
    {.skip = BM_SKIP_NOTHING},
};

static int copy(struct bm_rescue_state *run, struct bm_error *err)
{
    bool again = run->map->phase == BM_AREA_UNTRIED;
    unsigned first = first_pass(run, BM_AREA_UNTRIED);
    int rc = 0;

    if (first > COPY_PASSES)
        first = COPY_PASSES;
    for (unsigned i = first;
         rc == 0 && i <= COPY_PASSES && has(run, BM_AREA_UNTRIED); i++) {
        struct bm_rescue_pass pass = copy_passes[i - 1];

        pass.status = BM_AREA_UNTRIED;
        /* The last one misses nothing, wherever the map says it was. */
        begin(run, &pass, '?', i, again && i == first && i < COPY_PASSES);
        rc = bm_rescue_pass_run(run, &pass, err);
    }
    return end_phase(run, rc, err);
}

/* The good sectors at one end of the area. */
static int trim_edge(struct bm_rescue_state *run, uint64_t low, uint64_t high,
                     bool reverse, struct bm_error *err)
{
    struct bm_rescue_pass pass = {.status = BM_AREA_UNTRIMMED,
                                  .low = low,
                                  .high = high,
                                  .reverse = reverse,
                                  .sectors = true,
                                  .stop = true};

    return bm_rescue_pass_run(run, &pass, err);
}

/* An edge beside a bad sector is where the trouble begins already. */
static int trim_area(struct bm_rescue_state *run, uint64_t offset,
                     uint64_t length, struct bm_error *err)
{
    uint64_t end = offset + length;
    bool left =
        offset > 0 && bm_mapfile_get(run->map, offset - 1) == BM_AREA_BAD;
    bool right =
        end < run->map->size && bm_mapfile_get(run->map, end) == BM_AREA_BAD;
    int rc = left ? 0 : trim_edge(run, offset, end, false, err);

    if (rc == 0 && !right)
        rc = trim_edge(run, offset, end, true, err);
    if (rc == 0 && bm_mapfile_next(run->map, BM_AREA_UNTRIMMED, offset, end,
                                   &offset, &length))
        rc = bm_rescue_mark(run, offset, length, BM_AREA_UNSCRAPED, err);
    return rc;
}

static int trim(struct bm_rescue_state *run, struct bm_error *err)
{
    struct bm_rescue_pass all = {.status = BM_AREA_UNTRIMMED};
    uint64_t offset = 0, length;
    int rc = 0;

    if (!has(run, BM_AREA_UNTRIMMED))
        return 0;
    begin(run, &all, '*', 1, false);
    for (; rc == 0 && bm_mapfile_next(run->map, BM_AREA_UNTRIMMED, offset,
                                      run->map->size, &offset, &length);
         offset += length)
        rc = trim_area(run, offset, length, err);
    return end_phase(run, rc, err);
}

static int scrape(struct bm_rescue_state *run, struct bm_error *err)
{
    struct bm_rescue_pass pass = {.status = BM_AREA_UNSCRAPED, .sectors = true};

    if (!has(run, BM_AREA_UNSCRAPED))
        return 0;
    begin(run, &pass, '/', 1, false);
    return end_phase(run, bm_rescue_pass_run(run, &pass, err), err);
}

static int retry(struct bm_rescue_state *run, struct bm_error *err)
{
    bool again = run->map->phase == BM_AREA_BAD;
    unsigned first = first_pass(run, BM_AREA_BAD);
    int rc = 0;

    for (unsigned i = first;
         rc == 0 && i <= run->how->retries && has(run, BM_AREA_BAD); i++) {
        struct bm_rescue_pass pass = {
            .status = BM_AREA_BAD, .sectors = true, .reverse = i % 2 == 0};

        begin(run, &pass, '-', i, again && i == first);
        rc = end_phase(run, bm_rescue_pass_run(run, &pass, err), err);
    }
    return rc;
}

static int all_phases(struct bm_rescue_state *run, struct bm_error *err)
{
    int rc = copy(run, err);

    if (rc == 0)
        rc = trim(run, err);
    if (rc == 0)
        rc = scrape(run, err);
    if (rc == 0)
        rc = retry(run, err);
    if (rc == 0)
        run->map->phase = '+';
    return rc;
}

/* --- the whole --- */

static int check(const struct bm_rescue *how, struct bm_error *err)
{
    const char *why =
        how->map->size != how->source->size     ? "the map is of another size"
        : how->target->size < how->source->size ? "the target is too small"
        : !how->target->writable                ? "the target is read-only"
                                                : NULL;

    if (!why)
        return 0;
    bm_fail(err, EINVAL, "cannot rescue %s", how->source->name);
    return bm_cause(err, "%s", why), -EINVAL;
}

static int set_up(struct bm_rescue_state *run, struct bm_error *err)
{
    const struct bm_device *source = run->how->source;

    run->sector = source->sector > SECTOR ? source->sector : SECTOR;
    run->cluster =
        run->sector > BM_RESCUE_CLUSTER ? run->sector : BM_RESCUE_CLUSTER;
    run->chunk =
        source->chunk < BM_RESCUE_CHUNK ? source->chunk : BM_RESCUE_CHUNK;
    if (run->chunk < run->cluster)
        run->chunk = run->cluster;
    run->calm = BM_RESCUE_CALM;
    run->save_at = bm_now_ms() + BM_RESCUE_SAVE_MS;
    run->buffers =
        aligned_alloc(BM_BUFFER_ALIGN, (size_t)BM_RESCUE_SLOTS * run->chunk);
    if (!run->buffers)
        return bm_fail_errno(err, ENOMEM, "cannot rescue %s", source->name);
    return bm_rescue_keep(run, err);
}

static void clean_up(struct bm_rescue_state *run)
{
    free(run->buffers);
    free(run->safe.areas);
}

int bm_rescue_run(struct bm_rescue *rescue, struct bm_rescue_result *result,
                  struct bm_error *err)
{
    __attribute__((cleanup(clean_up))) struct bm_rescue_state run = {
        .how = rescue,
        .map = rescue->map,
        .result = result,
        .queues = {{rescue->source, 0}, {rescue->target, 0}}};
    int rc = check(rescue, err), last;

    *result = (struct bm_rescue_result){0};
    if (rc == 0)
        rc = set_up(&run, err);
    if (rc != 0)
        return rc;
    rc = all_phases(&run, err);
    bm_pipe_settle(&run);
    last = bm_rescue_checkpoint(&run, rc == 0 ? err : NULL);
    result->rescued = bm_mapfile_bytes(run.map, BM_AREA_FINISHED);
    result->bad = run.map->size - result->rescued;
    return rc ? rc : last;
}
