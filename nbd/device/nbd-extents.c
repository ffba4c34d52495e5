// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/nbd-connection.h"
#include "nbd/device/nbd-private.h"

#include <errno.h>
#include <string.h>

/* NBD protocol, base:allocation, bit 1; QEMU docs/interop/nbd.txt, bit 0. */
#define STATE_ZERO 2u
#define STATE_DIRTY 1u
/* Replies count in 32 bits; QEMU's requests must be below 2 GiB. */
#define STATUS_MAX (UINT64_C(1) << 30)

struct status {
    const char *context;
    enum bm_map map;
    unsigned depth;       /* as of struct bm_nbd_target */
    uint64_t offset, end; /* what is not yet known */
    struct bm_extent *runs;
    size_t max, n;
    bool full; /* runs had no room for more */
};

/* Adds a run after the others; alike neighbours become one. */
static void add_run(struct status *s, uint64_t end, bool zero)
{
    struct bm_extent *last = s->n ? &s->runs[s->n - 1] : NULL;
    uint64_t len;

    if (end > s->end)
        end = s->end;
    if (s->full || end <= s->offset)
        return;
    len = end - s->offset;
    if (last && last->zero == zero)
        last->length += len;
    else if (s->n < s->max)
        /* there are max: NOLINTNEXTLINE(*NullDereference) */
        s->runs[s->n++] = (struct bm_extent){s->offset, len, zero};
    else
        s->full = true;
    if (!s->full)
        s->offset = end;
}

static bool is_zero(const struct status *s, uint32_t flags)
{
    if (s->map == BM_MAP_ZERO)
        return flags & STATE_ZERO;
    /* qemu:allocation-depth: the layer that holds it, from 1; 0: none does */
    return s->depth ? flags == 0 || flags > s->depth : !(flags & STATE_DIRTY);
}

/* An answer may begin before what is not yet known: the question was widened,
 * or asked again after the connection had broken within the first answer. */
static int on_status(void *opaque, const char *context, uint64_t offset,
                     uint32_t *entries, size_t n, int *error)
{
    struct status *s = opaque;

    if (*error || strcmp(context, s->context) != 0)
        return 0;
    if (offset > s->offset) {
        *error = EPROTO;
        return -1;
    }
    for (size_t i = 0; i + 1 < n && !s->full; i += 2) {
        offset += entries[i];
        add_run(s, offset, is_zero(s, entries[i + 1]));
    }
    return 0;
}

/* In whole blocks: some servers answer to nothing else. */
static int ask(struct bm_nbd *conn, struct status *s, struct bm_error *err)
{
    const struct bm_nbd_facts *facts = bm_nbd_facts_of(conn);
    uint32_t block = facts->minimum ? facts->minimum : 1;
    uint64_t before = s->offset, offset = before - before % block;
    uint64_t end = s->end + (block - s->end % block) % block;
    int rc;

    if (end > facts->size)
        end = facts->size;
    if (end - offset > STATUS_MAX)
        end = offset + STATUS_MAX - STATUS_MAX % block;
    rc = bm_nbd_status(conn, offset, end - offset, on_status, s, err);
    if (rc == 0 && s->offset == before && !s->full)
        return bm_fail(err, EPROTO, "%s gives no extents",
                       bm_nbd_target_of(conn)->name);
    return rc;
}

static bool has_map(const struct bm_nbd_facts *facts, enum bm_map map)
{
    return map == BM_MAP_ZERO ? facts->has_zero : facts->has_dirty;
}

int bm_nbd_extents(struct bm_nbd *conn, enum bm_map map, uint64_t offset,
                   uint64_t len, struct bm_extent *runs, size_t max, size_t *n,
                   struct bm_error *err)
{
    struct status s = {
        .context = map == BM_MAP_ZERO ? BM_CONTEXT_ZERO
                                      : bm_nbd_target_of(conn)->dirty,
        .map = map,
        .depth = bm_nbd_target_of(conn)->depth,
        .offset = offset,
        .end = offset + len,
        .runs = runs,
        .max = max,
    };
    int rc = 0;

    if (!has_map(bm_nbd_facts_of(conn), map))
        add_run(&s, s.end, false);
    while (rc == 0 && s.offset < s.end && !s.full)
        rc = ask(conn, &s, err);
    *n = s.n;
    return rc;
}
