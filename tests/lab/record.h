// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the guest writes: records that prove where and when they belong.
 *
 * The span of a stream is cut into regions, one for each size of record, and
 * a region into slots, numbered through over the regions. A record fills its
 * slot. Each of its sectors carries a head with the record's sequence number,
 * the slot, its own place in the record and a checksum over all of it, and a
 * payload that follows from seed, sequence number and place. `flushed` is the
 * highest sequence number that a flush had made durable when the record was
 * issued.
 *
 * Which slot a sequence number goes to follows from the seed alone. So after
 * a power cycle the highest `flushed` on the disk tells what must be there.
 *
 * All functions are pure, or touch only what they are given.
 */
#ifndef LAB_RECORD_H
#define LAB_RECORD_H

#include <stdint.h>
#include <string.h>

#define SECTOR 512
#define RECORD_MAX (64 << 10)
#define RECORD_MAGIC 0x74736575474d4242ULL /* "BBMGuest" */
#define REGIONS 3

struct sector {
    uint64_t magic;
    uint64_t seed;
    uint64_t seq; /* from 1 */
    uint64_t slot;
    uint64_t index; /* of this sector in its record */
    uint64_t flushed;
    uint64_t sum; /* of the sector with this field 0 */
    uint64_t payload[SECTOR / 8 - 7];
};

struct region {
    uint64_t first; /* slot */
    uint64_t slots;
    uint64_t start; /* byte */
    uint32_t size;  /* of a record */
    uint32_t share; /* of the writes, in percent */
};

struct layout {
    uint64_t seed;
    uint64_t slots;
    int sequential; /* slots in order, not at random */
    struct region region[REGIONS];
};

enum sector_state { SECTOR_GOOD, SECTOR_BLANK, SECTOR_BROKEN };

static inline uint64_t mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/* Word i of the payload; cheap, as all of it runs in an emulated CPU. */
static inline uint64_t payload_word(uint64_t key, unsigned i)
{
    return (key + i) * 0x9e3779b97f4a7c15ULL ^ key >> 7;
}

static inline uint64_t payload_key(const struct sector *s)
{
    return mix64(s->seed ^ s->seq * 0x2545f4914f6cdd1dULL) + s->index * 1021;
}

static inline uint64_t sector_sum(const struct sector *s)
{
    const uint64_t *word = (const uint64_t *)s;
    uint64_t sum = 0;
    unsigned i;

    for (i = 0; i < SECTOR / 8; i++)
        if (i != 6)
            sum = (sum ^ word[i]) * 0x100000001b3ULL + (sum >> 47);
    return sum;
}

static inline void sector_fill(struct sector *s, uint64_t seed, uint64_t seq,
                               uint64_t slot, uint64_t index, uint64_t flushed)
{
    uint64_t key;
    unsigned i;

    s->magic = RECORD_MAGIC;
    s->seed = seed;
    s->seq = seq;
    s->slot = slot;
    s->index = index;
    s->flushed = flushed;
    key = payload_key(s);
    for (i = 0; i < SECTOR / 8 - 7; i++)
        s->payload[i] = payload_word(key, i);
    s->sum = sector_sum(s);
}

/* Blank: never written by this guest, or by one of another seed. */
static inline enum sector_state sector_check(const struct sector *s,
                                             uint64_t seed, uint64_t slot,
                                             uint64_t index)
{
    uint64_t key;
    unsigned i;

    if (s->magic != RECORD_MAGIC)
        return SECTOR_BLANK;
    if (s->sum != sector_sum(s))
        return SECTOR_BROKEN;
    if (s->seed != seed)
        return SECTOR_BLANK;
    if (s->slot != slot || s->index != index || s->seq == 0)
        return SECTOR_BROKEN;
    key = payload_key(s);
    for (i = 0; i < SECTOR / 8 - 7; i++)
        if (s->payload[i] != payload_word(key, i))
            return SECTOR_BROKEN;
    return SECTOR_GOOD;
}

/* What a whole record looks like. */
struct record_view {
    enum sector_state worst;
    uint64_t low;     /* lowest and highest seq of its good sectors; a blank */
    uint64_t high;    /* one counts as 0 */
    uint64_t flushed; /* the highest of them */
};

static inline struct record_view record_check(const void *data, uint32_t size,
                                              uint64_t seed, uint64_t slot)
{
    struct record_view v = {SECTOR_GOOD, UINT64_MAX, 0, 0};
    const struct sector *s = data;
    uint32_t i;

    for (i = 0; i < size / SECTOR; i++) {
        enum sector_state state = sector_check(&s[i], seed, slot, i);
        uint64_t seq = state == SECTOR_GOOD ? s[i].seq : 0;

        if (state > v.worst)
            v.worst = state;
        if (state == SECTOR_BROKEN)
            continue;
        v.low = seq < v.low ? seq : v.low;
        v.high = seq > v.high ? seq : v.high;
        if (state == SECTOR_GOOD && s[i].flushed > v.flushed)
            v.flushed = s[i].flushed;
    }
    return v;
}

static inline void record_fill(void *data, uint32_t size, uint64_t seed,
                               uint64_t seq, uint64_t slot, uint64_t flushed)
{
    struct sector *s = data;
    uint32_t i;

    for (i = 0; i < size / SECTOR; i++)
        sector_fill(&s[i], seed, seq, slot, i, flushed);
}

/*
 * Half of the span for 4 KiB, a quarter each for 64 and 24 KiB; the last
 * begin at an odd sector, so that none is aligned to 4 KiB. A region whose
 * share is 0 gets nothing and leaves its room to the first that has one.
 */
static inline void layout_init(struct layout *l, uint64_t seed, uint64_t start,
                               uint64_t span, const unsigned share[REGIONS])
{
    static const uint32_t size[REGIONS] = {4 << 10, 64 << 10, 24 << 10};
    static const unsigned quarters[REGIONS] = {2, 1, 1};
    uint64_t quarter = span / 4 / RECORD_MAX * RECORD_MAX;
    unsigned i, spare = 0, used = 0;

    memset(l, 0, sizeof *l);
    l->seed = seed;
    for (i = 0; i < REGIONS; i++)
        spare += share[i] == 0 ? quarters[i] : 0;
    for (i = 0; i < REGIONS; i++) {
        struct region *r = &l->region[i];
        unsigned mine = share[i] == 0 ? 0 : quarters[i] + spare;

        spare = share[i] == 0 ? spare : 0;
        r->first = l->slots;
        r->start = start + used * quarter + (i == 2 ? SECTOR : 0);
        r->size = size[i];
        r->share = share[i];
        r->slots = mine * quarter / size[i];
        if (i == 2 && r->slots > 0 && r->slots * size[i] == mine * quarter)
            r->slots--;
        used += mine;
        l->slots += r->slots;
    }
}

static inline const struct region *slot_region(const struct layout *l,
                                               uint64_t slot)
{
    unsigned i = 0;

    while (i < REGIONS - 1 && slot >= l->region[i].first + l->region[i].slots)
        i++;
    return &l->region[i];
}

static inline uint64_t slot_offset(const struct layout *l, uint64_t slot)
{
    const struct region *r = slot_region(l, slot);

    return r->start + (slot - r->first) * r->size;
}

/* The slot that sequence number seq is written to. */
static inline uint64_t seq_slot(const struct layout *l, uint64_t seq)
{
    uint64_t h = mix64(l->seed * 31 + seq), percent = h % 100;
    const struct region *r = l->region;
    unsigned i;

    if (l->sequential)
        return seq % l->slots;
    for (i = 0; i < REGIONS; i++) {
        if (percent < l->region[i].share) {
            r = &l->region[i];
            break;
        }
        percent -= l->region[i].share;
    }
    return r->first + mix64(h) % r->slots;
}

#endif
