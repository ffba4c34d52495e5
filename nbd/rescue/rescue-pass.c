// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/rescue/rescue-private.h"

#include "nbd/base/units.h"

#include <errno.h>

#define PROGRESS_MS 200
#define WAIT_MS 100

/* --- where to read next --- */

static bool find(const struct bm_rescue_state *run,
                 const struct bm_rescue_pass *pass, uint64_t *offset,
                 uint64_t *length)
{
    return (pass->reverse ? bm_mapfile_last : bm_mapfile_next)(
        run->map, pass->status, pass->low, pass->high, offset, length);
}

/* Nothing is left of [offset, offset+length), or before it on our way. */
static void leave(struct bm_rescue_pass *pass, uint64_t offset, uint64_t length)
{
    if (pass->reverse && offset < pass->high)
        pass->high = offset;
    if (!pass->reverse && offset + length > pass->low)
        pass->low = offset + length;
}

/* Whether what lies before the area on our way was rescued. What is still in
 * flight has the status of the area. */
static bool follows_finished(const struct bm_rescue_state *run,
                             const struct bm_rescue_pass *pass, uint64_t offset,
                             uint64_t length)
{
    uint64_t before = pass->reverse ? offset + length : offset - 1;
    enum bm_area status;

    if (before >= run->map->size) /* offset 0 too */
        return false;
    status = bm_mapfile_get(run->map, before);
    return status == BM_AREA_FINISHED || status == pass->status;
}

/* Requests are large while all goes well. They end at multiples of their
 * size, so that clusters are those of ddrescue and the medium. */
static void cut(const struct bm_rescue_state *run,
                const struct bm_rescue_pass *pass, uint64_t *offset,
                uint64_t *length)
{
    uint64_t end = *offset + *length, edge;
    uint64_t unit = pass->sectors                ? run->sector
                    : run->calm < BM_RESCUE_CALM ? run->cluster
                                                 : run->chunk;

    if (pass->reverse) {
        edge = (end - 1) / unit * unit;
        *offset = edge > *offset ? edge : *offset;
    } else {
        edge = (*offset / unit + 1) * unit;
        end = edge < end ? edge : end;
    }
    *length = end - *offset;
}

static bool knows_zeroes(const struct bm_rescue_state *run,
                         const struct bm_rescue_pass *pass, uint64_t offset)
{
    return pass->status != BM_AREA_UNTRIED || run->no_extents ||
           (offset >= run->window && offset < run->window_end);
}

/* 1: read this; 0: nothing is left, or not before what is read is there. */
static int choose(struct bm_rescue_state *run, struct bm_rescue_pass *pass,
                  uint64_t *offset, uint64_t *length, struct bm_error *err)
{
    int rc = 0;

    while (rc == 0 && find(run, pass, offset, length)) {
        if (pass->adjacent && !follows_finished(run, pass, *offset, *length)) {
            leave(pass, *offset, *length);
            continue;
        }
        cut(run, pass, offset, length);
        if (knows_zeroes(run, pass, *offset))
            return 1;
        if (bm_pipe_reading(run) > 0)
            return 0;
        rc = bm_rescue_zeroes(run, *offset, err);
    }
    return rc;
}

/* --- what became of it --- */

static uint64_t first_jump(const struct bm_rescue_state *run)
{
    uint64_t jump = run->map->size / 100000 + BM_RESCUE_CLUSTER - 1;

    jump -= jump % BM_RESCUE_CLUSTER;
    return jump ? jump : BM_RESCUE_CLUSTER;
}

/* Goes on at some distance, which grows up to a hundredth of the device. */
static void jump(const struct bm_rescue_state *run, struct bm_rescue_pass *pass,
                 uint64_t end)
{
    uint64_t most = run->map->size / 100;

    if (pass->jump == 0)
        pass->jump = first_jump(run);
    leave(pass, end, pass->jump);
    if (pass->jump * 2 <= most)
        pass->jump *= 2;
}

/* Skips what is left of the area behind the piece. */
static void skip_rest(const struct bm_rescue_state *run,
                      struct bm_rescue_pass *pass, uint64_t offset,
                      uint64_t length)
{
    uint64_t at, rest;

    if (pass->reverse) {
        if (bm_mapfile_last(run->map, pass->status, 0, offset, &at, &rest) &&
            at + rest == offset)
            leave(pass, at, rest);
    } else if (bm_mapfile_next(run->map, pass->status, offset + length,
                               run->map->size, &at, &rest) &&
               at == offset + length) {
        leave(pass, at, rest);
    }
}

static void skip(const struct bm_rescue_state *run, struct bm_rescue_pass *pass,
                 const struct bm_rescue_outcome *piece)
{
    if (pass->stop)
        pass->low = pass->high;
    if (pass->skip == BM_SKIP_SOME) /* slow is where we are, not where it was */
        jump(run, pass, piece->bad ? piece->offset + piece->length : pass->low);
    if (pass->skip == BM_SKIP_REST)
        skip_rest(run, pass, piece->offset, piece->length);
}

static int judge(struct bm_rescue_state *run, struct bm_rescue_pass *pass,
                 const struct bm_rescue_outcome *piece, struct bm_error *err)
{
    bool slow = bm_pipe_is_slow(run) && pass->impatient;
    bool small = pass->sectors || piece->length <= run->sector;
    int rc = 0;

    run->map->current =
        pass->reverse ? piece->offset : piece->offset + piece->length;
    if (piece->bad)
        rc = bm_rescue_mark(run, piece->offset, piece->length,
                            small ? BM_AREA_BAD : BM_AREA_UNTRIMMED, err);
    if (!piece->bad && !slow) {
        run->calm++;
        pass->jump = 0;
        return 0;
    }
    run->calm = 0;
    skip(run, pass, piece);
    return rc;
}

/* --- the pass --- */

static int tick(struct bm_rescue_state *run, struct bm_error *err)
{
    int64_t now = bm_now_ms();
    const struct bm_rescue *how = run->how;

    if (!how->progress || now < run->progress_at)
        return 0;
    run->progress_at = now + PROGRESS_MS;
    if (how->progress(how->opaque, run->map) == 0)
        return 0;
    return bm_fail_errno(err, ECANCELED, "cannot rescue %s", how->source->name);
}

/* Waits for its turn; a cancel or a new rate is seen soon. */
static int pace(struct bm_rescue_state *run, uint64_t length,
                struct bm_error *err)
{
    struct bm_rate_limit *rate_limit = run->how->rate_limit;
    int rc = 0, ms = rate_limit ? bm_rate_limit_take(rate_limit, length) : 0;

    while (rc == 0 && ms > 0) {
        bm_sleep_ms(ms < WAIT_MS ? ms : WAIT_MS);
        rc = tick(run, err);
        ms = bm_rate_limit_take(rate_limit, 0);
    }
    return rc;
}

static size_t depth(const struct bm_rescue_state *run,
                    const struct bm_rescue_pass *pass)
{
    return pass->stop || run->calm < BM_RESCUE_CALM ? 1 : BM_RESCUE_DEPTH;
}

/* Asks for one more piece. 1: done; 0: there is none, or no room. */
static int ask(struct bm_rescue_state *run, struct bm_rescue_pass *pass,
               struct bm_error *err)
{
    uint64_t offset, length;
    int rc;

    if (!bm_pipe_has_space(run, depth(run, pass)) ||
        bm_now_ms() >= run->save_at)
        return 0;
    rc = choose(run, pass, &offset, &length, err);
    if (rc <= 0)
        return rc;
    leave(pass, offset, length);
    rc = pace(run, length, err);
    if (rc == 0)
        rc = bm_pipe_read(run, offset, length, err);
    return rc ? rc : 1;
}

/* Waits for the first of what is in flight. Reads first, or nothing would be
 * asked of the source meanwhile; but they need slots. */
static int advance(struct bm_rescue_state *run, struct bm_rescue_pass *pass,
                   struct bm_error *err)
{
    struct bm_rescue_outcome piece;
    int rc;

    if (bm_pipe_reading(run) == 0 ||
        run->reading - run->writing >= BM_RESCUE_SLOTS / 2)
        return bm_pipe_retire(run, err);
    rc = bm_pipe_take(run, &piece, err);
    return rc ? rc : judge(run, pass, &piece, err);
}

int bm_rescue_pass_run(struct bm_rescue_state *run, struct bm_rescue_pass *pass,
                       struct bm_error *err)
{
    int rc;

    while ((rc = tick(run, err)) == 0) {
        if (bm_pipe_is_idle(run) && bm_now_ms() >= run->save_at)
            rc = bm_rescue_checkpoint(run, err);
        if (rc == 0)
            rc = ask(run, pass, err);
        if (rc > 0)
            continue;
        if (rc < 0 || bm_pipe_is_idle(run))
            break;
        rc = advance(run, pass, err);
        if (rc != 0)
            break;
    }
    return rc;
}
