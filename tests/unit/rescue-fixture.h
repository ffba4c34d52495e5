// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the tests of a rescue share: a source that fails, and the truth. */
#ifndef TESTS_UNIT_RESCUE_FIXTURE_H
#define TESTS_UNIT_RESCUE_FIXTURE_H

#include "nbd/rescue/rescue.h"
#include "tests/unit/faulty-device.h"
#include "tests/unit/fixture.h"

TestSuite(rescue, .init = fixture_setup, .fini = fixture_teardown);

#define MIB (UINT64_C(1) << 20)
#define SECTOR FAULTY_SECTOR
#define UNTOUCHED 0xee /* what a target holds where nothing was written */

/* A source, a target, the map, and what happens meanwhile. */
struct scene {
    struct faulty *source, *target;
    struct bm_mapfile *map;
    struct bm_rescue rescue;
    struct bm_rescue_result result;
    struct bm_error err;
    unsigned saves;
    int cancel_after; /* calls of progress; negative: never */
};

/* What is finished must be on the medium of the target when the map is saved.
 */
static inline void check_durable(const struct scene *s)
{
    uint64_t offset = 0, length;

    for (; bm_mapfile_next(s->map, BM_AREA_FINISHED, offset, s->map->size,
                           &offset, &length);
         offset += length)
        cr_assert_eq(memcmp(s->target->durable + offset,
                            s->source->data + offset, length),
                     0, "the map that was saved lies at %lu", offset);
}

static inline int on_save(void *opaque, struct bm_error *err)
{
    struct scene *s = opaque;

    s->saves++;
    check_durable(s);
    return bm_mapfile_save(s->map, "map", err);
}

static inline int on_progress(void *opaque, const struct bm_mapfile *map)
{
    struct scene *s = opaque;

    return s->cancel_after >= 0 && s->cancel_after-- == 0;
}

/* A source of bytes that are nowhere zero. */
static inline void begin(struct scene *s, uint64_t size, unsigned seed)
{
    memset(s, 0, sizeof *s);
    srandom(seed);
    s->source = faulty_new(size, 0);
    s->target = faulty_new(size, UNTOUCHED);
    for (uint64_t i = 0; i < size; i++)
        s->source->data[i] = (uint8_t)((i * 2654435761u >> 24) | 1);
    s->map = bm_mapfile_new(size);
    s->cancel_after = -1;
    s->rescue = (struct bm_rescue){.source = &s->source->dev,
                                   .target = &s->target->dev,
                                   .map = s->map,
                                   .save = on_save,
                                   .progress = on_progress,
                                   .opaque = s};
}

static inline void end(struct scene *s)
{
    bm_device_close(&s->source->dev);
    bm_device_close(&s->target->dev);
    bm_mapfile_free(s->map);
}

static inline int run(struct scene *s)
{
    return bm_rescue_run(&s->rescue, &s->result, &s->err);
}

static inline void must_run(struct scene *s)
{
    ok(run(s), s->err);
    cr_assert_eq(s->map->phase, '+');
}

/* From now on the sectors of [first, first+n) cannot be read. */
static inline void spoil(struct scene *s, uint64_t first, uint64_t n)
{
    memset(s->source->failures + first, 255, n);
}

/* Some runs of bad sectors: few long ones, many short ones. */
static inline void spoil_at_random(struct scene *s)
{
    uint64_t sectors = faulty_sectors(s->source);
    int runs = (int)(random() % 12);

    for (int i = 0; i < runs; i++) {
        uint64_t first = (uint64_t)random() % sectors;
        uint64_t n = 1 + (uint64_t)random() % (random() % 3 ? 4 : 400);

        spoil(s, first, n < sectors - first ? n : sectors - first);
    }
}

static inline uint64_t sector_len(const struct scene *s, uint64_t sector)
{
    uint64_t left = s->map->size - sector * SECTOR;

    return left < SECTOR ? left : SECTOR;
}

/* What is bad is exactly what is bad, all else is on the target, and nothing
 * else was written there. */
static inline void check_truth(const struct scene *s)
{
    uint64_t bad = 0;

    for (uint64_t i = 0; i < faulty_sectors(s->source); i++) {
        bool is_bad = s->source->failures[i];
        const uint8_t *at_ = s->target->data + i * SECTOR;

        bad += is_bad ? sector_len(s, i) : 0;
        cr_assert_eq(bm_mapfile_get(s->map, i * SECTOR),
                     is_bad ? BM_AREA_BAD : BM_AREA_FINISHED, "sector %lu", i);
        if (is_bad)
            cr_assert(at_[0] == UNTOUCHED && !s->target->written[i]);
        else
            cr_assert_eq(
                memcmp(at_, s->source->data + i * SECTOR, sector_len(s, i)), 0,
                "sector %lu", i);
    }
    cr_assert_eq(s->result.bad, bad);
    cr_assert_eq(s->result.rescued, s->map->size - bad);
}

static inline void check_touches(const struct scene *s, unsigned most)
{
    for (uint64_t i = 0; i < faulty_sectors(s->source); i++)
        cr_assert_leq(s->source->touched[i], most, "sector %lu", i);
}

#endif
