// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A view with bad sectors into the image. The copy goes on as always until one
 * is met; from there by ddrescue's phases and a map, which says what is on the
 * target. A block is done only when all of it was read, and its digest is that
 * of what was read: so blocks with bad sectors are never done, and never
 * proven, until the guest writes them anew.
 */
#include "blockmig/image/bad-areas.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/replica/replica-private.h"
#include "nbd/base/cleanup.h"
#include "nbd/rescue/rescue.h"

#include <errno.h>
#include <string.h>

#define BLOCK BM_DIGEST_BLOCK

struct run_context {
    struct bm_replica *replica;
    struct bm_device *source, *target;
    struct bm_mapfile *map;
    struct bm_bitmap *hashed; /* blocks whose digest is that of the source */
    struct bm_hasher *hasher;
    uint64_t before, passed; /* bytes finished already, and told as progress */
};

static int no_memory(const struct bm_replica *replica, struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot rescue disk %s",
                         replica->how->disk);
}

/* --- what is done --- */

/* Blocks of which the map has all. */
static void find_whole(const struct bm_mapfile *map, struct bm_bitmap *whole)
{
    uint64_t at = 0, length;

    for (; bm_mapfile_next(map, BM_AREA_FINISHED, at, map->size, &at, &length);
         at += length) {
        uint64_t end = at + length;
        uint64_t first = (at + BLOCK - 1) / BLOCK * BLOCK;
        uint64_t last = end == map->size ? end : end / BLOCK * BLOCK;

        if (last > first)
            bm_bitmap_set(whole, first, last - first);
    }
}

/* Sets in `out` the whole blocks, with a digest or (rest) without. */
static int find_done(const struct run_context *run, bool rest,
                     struct bm_bitmap *out, struct bm_error *err)
{
    BM_BITMAP *other = bm_bitmap_new(run->map->size, BLOCK);
    int rc = other ? bm_bitmap_merge(other, run->hashed, err)
                   : no_memory(run->replica, err);

    if (rc)
        return rc;
    if (!rest)
        bm_bitmap_invert(other);
    find_whole(run->map, out);
    return bm_bitmap_subtract(out, other, err);
}

static int save_map(const struct bm_replica *replica, struct bm_mapfile *map,
                    struct bm_error *err)
{
    return bm_mapfile_save(map, replica->how->map, err);
}

/* As of struct bm_rescue: the target was flushed. */
static int save(void *opaque, struct bm_error *err)
{
    struct run_context *run = opaque;
    struct bm_replica *replica = run->replica;
    int rc = bm_manifest_sync(replica->digests, err);

    bm_bitmap_clear(replica->done, 0, replica->how->size);
    if (!rc)
        rc = find_done(run, false, replica->done, err);
    if (!rc)
        rc = save_map(replica, run->map, err);
    return rc ? rc : bm_replica_save(replica, err);
}

/* --- digests of what is read --- */

static int hash_block(struct run_context *run, uint64_t offset,
                      const char *data, struct bm_error *err)
{
    uint64_t left = run->map->size - offset;
    size_t len = left < BLOCK ? (size_t)left : BLOCK;
    const void *block = data;
    uint8_t md[BM_DIGEST_MAX];
    bool zero;
    int rc;

    if (bm_hasher_blocks(run->hasher, 1, &block, &len, md, &zero) != 0)
        return bm_fail(err, EIO, "cannot compute a digest");
    rc = bm_manifest_set(run->replica->digests, offset / BLOCK, 1, md, &zero,
                         err);
    if (!rc)
        bm_bitmap_set(run->hashed, offset, len);
    return rc;
}

/* As of struct bm_rescue. What is read in smaller pieces gets its digest at
 * the end. */
static int took(void *opaque, uint64_t offset, uint64_t length,
                const void *data, struct bm_error *err)
{
    struct run_context *run = opaque;
    uint64_t end = offset + length, size = run->map->size;
    uint64_t at = (offset + BLOCK - 1) / BLOCK * BLOCK;
    int rc = 0;

    for (; rc == 0 && (at + BLOCK <= end || (end == size && at < end));
         at += BLOCK)
        rc = hash_block(run, at,
                        data ? (const char *)data + (at - offset) : NULL, err);
    return rc;
}

/* Whole blocks that were read in pieces, beside bad sectors, are read once
 * more. One that cannot be read this time stays without a digest. */
static int hash_rest(struct run_context *run, struct bm_error *err)
{
    BM_BITMAP *rest = bm_bitmap_new(run->map->size, BLOCK);
    BM_FREE char *buf = aligned_alloc(BM_BUFFER_ALIGN, BLOCK);
    uint64_t at = 0, length, size = run->map->size;
    int rc = rest && buf ? find_done(run, true, rest, err)
                         : no_memory(run->replica, err);

    for (; rc == 0 && bm_bitmap_next(rest, false, at, size, &at, &length);
         at += BLOCK) {
        rc = bm_device_pread(run->source, 0, buf,
                             length < BLOCK ? length : BLOCK, at, err);
        if (rc == 0)
            rc = hash_block(run, at, buf, err);
        else if (bm_is_bad_sector(-rc))
            rc = 0;
    }
    return rc ? rc : save(run, err);
}

/* --- the map --- */

static int of_another_job(const struct bm_replica *replica,
                          struct bm_error *err)
{
    bm_fail(err, EBADMSG, "cannot go on with the rescue of disk %s",
            replica->how->disk);
    bm_cause(err, "%s is not the map of job %s", replica->how->map,
             replica->how->id);
    return bm_remedy(err, "put it back"), -EBADMSG;
}

static int load_map(const struct bm_replica *replica, struct bm_mapfile **map,
                    struct bm_error *err)
{
    int rc = bm_mapfile_load(replica->how->map, replica->how->size, map, err);
    const char *job = rc ? NULL : bm_mapfile_noted(*map, "job");

    if (rc || (job && !strcmp(job, replica->how->id)))
        return rc;
    return of_another_job(replica, err);
}

bool bm_replica_has_map(const struct bm_replica *replica)
{
    return replica->how->map && access(replica->how->map, F_OK) == 0;
}

static int finish_runs(struct bm_mapfile *map, const struct bm_bitmap *blocks)
{
    uint64_t at = 0, length;
    int rc = 0;

    for (;
         rc == 0 && bm_bitmap_next(blocks, false, at, map->size, &at, &length);
         at += length)
        rc = bm_mapfile_set(map, at, length, BM_AREA_FINISHED);
    return rc;
}

static int take_map(struct run_context *run, struct bm_error *err)
{
    const struct bm_replica *replica = run->replica;

    if (bm_replica_has_map(replica))
        return load_map(replica, &run->map, err);
    run->map = bm_mapfile_new(replica->how->size);
    if (!run->map || finish_runs(run->map, replica->done) ||
        bm_mapfile_note(run->map, "job", replica->how->id) ||
        bm_mapfile_note(run->map, "disk", replica->how->disk))
        return no_memory(replica, err);
    return save_map(replica, run->map, err);
}

/* --- the rescue --- */

static int on_progress(void *opaque, const struct bm_mapfile *map)
{
    const struct run_context *run = opaque;
    const struct bm_replica_how *how = run->replica->how;
    uint64_t done = bm_mapfile_bytes(map, BM_AREA_FINISHED);

    done = run->passed + (done > run->before ? done - run->before : 0);
    return how->progress ? how->progress(how->opaque, done, how->size) : 0;
}

static int set_up(struct run_context *run, struct bm_error *err)
{
    struct bm_replica *replica = run->replica;
    int rc = take_map(run, err);

    if (rc)
        return rc;
    run->before = bm_mapfile_bytes(run->map, BM_AREA_FINISHED);
    run->passed = replica->passed;
    run->hasher = bm_hasher_new(bm_manifest_digest(replica->digests), err);
    run->hashed = bm_bitmap_new(replica->how->size, BLOCK);
    if (!run->hasher)
        return -EIO;
    if (!run->hashed)
        return no_memory(replica, err);
    rc = bm_bitmap_merge(run->hashed, replica->done, err);
    return rc ? rc : bm_replica_write(replica, &run->target, err);
}

/* What cannot be read has, on the new image, the bytes of an older copy, or
 * zeroes: a block device held something else. */
static int fill(struct run_context *run, struct bm_error *err)
{
    const char *from = run->replica->how->fill_from;
    int rc =
        from ? bm_bad_areas_fill(run->map, run->target, from, false, err) : 0;

    if (!rc)
        rc = bm_bad_areas_zero(run->map, run->target, err);
    return rc ? rc : save(run, err);
}

static int rescue(struct run_context *run, struct bm_error *err)
{
    struct bm_rescue how = {.source = run->source,
                            .target = run->target,
                            .map = run->map,
                            .rate_limit = run->replica->how->rate_limit,
                            .took = took,
                            .save = save,
                            .progress = on_progress,
                            .opaque = run};
    struct bm_rescue_result sum;
    int rc = bm_rescue_run(&how, &sum, err);

    if (!rc)
        rc = hash_rest(run, err);
    return rc ? rc : fill(run, err);
}

static void clean_up(struct run_context *run)
{
    bm_device_close(run->target);
    bm_mapfile_free(run->map);
    bm_bitmap_free(run->hashed);
    bm_hasher_free(run->hasher);
}

int bm_replica_rescue(struct bm_replica *replica,
                      const struct bm_frozen_chain *view,
                      const struct bm_bitmap *only, struct bm_error *err)
{
    __attribute__((cleanup(clean_up))) struct run_context run = {
        .replica = replica, .source = view->device};
    int rc = bm_replica_has_map(replica)
                 ? 0
                 : bm_replica_copy_blocks(replica, view, only, err);

    if (!bm_replica_has_map(replica) && (rc == 0 || !replica->unread))
        return rc;
    replica->unread = 0;
    rc = set_up(&run, err);
    return rc ? rc : rescue(&run, err);
}

/* --- afterwards --- */

char *bm_replica_map_name(const char *dir, const char *id, const char *disk)
{
    char *name;

    return asprintf(&name, "%s/%s-%s.map", dir, id, disk) < 0 ? NULL : name;
}

int bm_replica_forget_map(const char *path, const char *id, uint64_t size,
                          struct bm_error *err)
{
    BM_MAPFILE *map = NULL;
    const char *job;

    if (bm_mapfile_load(path, size, &map, NULL) != 0)
        return 0; /* none was made; or what is there is not ours */
    job = bm_mapfile_noted(map, "job");
    return job && !strcmp(job, id) ? bm_file_remove(path, err) : 0;
}

int bm_replica_heal(struct bm_replica *replica, const struct bm_bitmap *blocks,
                    struct bm_error *err)
{
    BM_MAPFILE *map = NULL;
    int rc;

    if (!bm_replica_has_map(replica))
        return 0;
    rc = bm_bitmap_merge(replica->done, blocks, err);
    if (!rc)
        rc = bm_replica_save(replica, err);
    if (!rc)
        rc = load_map(replica, &map, err);
    if (!rc && finish_runs(map, blocks) != 0)
        rc = no_memory(replica, err);
    return rc ? rc : save_map(replica, map, err);
}

int bm_replica_find_gaps(const struct bm_replica *replica,
                         struct bm_replica_gaps *out, struct bm_error *err)
{
    BM_MAPFILE *map = NULL;
    BM_BAD_AREAS bad = {0};
    int rc = bm_replica_has_map(replica) ? load_map(replica, &map, err) : 0;

    *out = (struct bm_replica_gaps){.unproven = replica->how->size -
                                                bm_bitmap_count(replica->done)};
    if (rc || !map)
        return rc;
    if (bm_bad_areas_list(map, &bad) != 0)
        return no_memory(replica, err);
    out->ranges = bad.n;
    out->unreadable = bad.unreadable;
    out->filled = bad.filled_bytes;
    return 0;
}
