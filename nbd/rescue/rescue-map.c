// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/rescue/rescue-private.h"

#include "nbd/base/units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int bm_rescue_mark(struct bm_rescue_state *run, uint64_t offset,
                   uint64_t length, enum bm_area status, struct bm_error *err)
{
    run->dirty = true;
    if (bm_mapfile_set(run->map, offset, length, status) == 0)
        return 0;
    return bm_fail_errno(err, ENOMEM, "cannot rescue %s",
                         run->how->source->name);
}

int bm_rescue_keep(struct bm_rescue_state *run, struct bm_error *err)
{
    struct bm_mapfile *map = run->map;
    size_t room = map->n ? map->n : 1;
    struct bm_map_area *areas =
        reallocarray(run->safe.areas, room, sizeof *areas);

    if (!areas)
        return bm_fail_errno(err, ENOMEM, "cannot rescue %s",
                             run->how->source->name);
    run->safe = *map;
    run->safe.areas = areas;
    memcpy(areas, map->areas, map->n * sizeof *areas);
    run->dirty = false;
    return 0;
}

/* What was finished since is perhaps not on the target, so it is as it was. */
static void take_back(struct bm_rescue_state *run)
{
    struct bm_mapfile *map = run->map;

    memcpy(map->areas, run->safe.areas, run->safe.n * sizeof *map->areas);
    map->n = run->safe.n;
    map->current = run->safe.current;
    map->phase = run->safe.phase;
    map->pass = run->safe.pass;
}

/* A source that was cut off meanwhile may have been read as zeroes. */
int bm_rescue_checkpoint(struct bm_rescue_state *run, struct bm_error *err)
{
    const struct bm_rescue *how = run->how;
    int rc = bm_device_intact(how->source, err), saved = 0;

    if (rc == 0)
        rc = bm_device_flush(how->target, err);
    if (rc == 0)
        rc = bm_rescue_keep(run, err);
    else
        take_back(run);
    if (how->save)
        saved = how->save(how->opaque, rc == 0 ? err : NULL);
    run->save_at = bm_now_ms() + BM_RESCUE_SAVE_MS;
    return rc ? rc : saved;
}
