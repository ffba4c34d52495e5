// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/imagecopy/resume-state.h"

#include "nbd/base/cleanup.h"
#include "nbd/digest/digest.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static const char *const keys[] = {"source",    "target", "source-id",
                                   "target-id", "format", "source-format",
                                   "digest"};
#define SUM_HEX (2 * 32 + 1)
#define N_KEYS (sizeof keys / sizeof *keys)

static const char *value_of(const struct bm_image_copy_identity *id, size_t i)
{
    const char *values[N_KEYS] = {id->source,    id->target, id->source_id,
                                  id->target_id, id->format, id->source_format,
                                  id->digest};

    return values[i];
}

/* Over what the file says, whatever its layout. */
static int checksum(const struct bm_mapfile *map, char hex[SUM_HEX],
                    struct bm_error *err)
{
    BM_FREE char *text = NULL;
    unsigned char sum[EVP_MAX_MD_SIZE];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    for (size_t i = 0; out && i < N_KEYS; i++)
        fprintf(out, "%s\n", bm_mapfile_noted(map, keys[i]));
    for (size_t i = 0; out && i < map->n; i++)
        fprintf(out, "%" PRIu64 " %c\n", map->areas[i].offset,
                map->areas[i].status);
    if (!out || fprintf(out, "%" PRIu64 "\n", map->size) < 0 ||
        fclose(out) != 0)
        return bm_fail_errno(err, ENOMEM, "cannot compute a checksum");
    if (EVP_Digest(text, size, sum, NULL, EVP_sha256(), NULL) != 1)
        return bm_fail(err, EIO, "cannot compute a checksum");
    for (size_t i = 0; i < SUM_HEX / 2; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    return 0;
}

static int damaged(const char *path, struct bm_error *err)
{
    bm_fail(err, EBADMSG, "cannot go on by %s", path);
    bm_cause(
        err,
        "it is damaged, of an image of another size, or no state file of a "
        "copy");
    return bm_remedy(err, "begin again without --resume");
}

static int is_sound(const struct bm_mapfile *map, const char *path,
                    struct bm_error *err)
{
    const char *noted = bm_mapfile_noted(map, "checksum");
    char hex[SUM_HEX];
    int rc;

    for (size_t i = 0; i < N_KEYS; i++)
        if (!bm_mapfile_noted(map, keys[i]))
            return damaged(path, err);
    rc = checksum(map, hex, err);
    if (rc == 0 && (!noted || strcmp(noted, hex) != 0))
        rc = damaged(path, err);
    return rc;
}

static int is_same(const struct bm_mapfile *map, const char *path,
                   const struct bm_image_copy_identity *id,
                   struct bm_error *err)
{
    for (size_t i = 0; i < N_KEYS; i++) {
        if (strcmp(bm_mapfile_noted(map, keys[i]), value_of(id, i)) == 0)
            continue;
        bm_fail(err, ESTALE, "cannot go on by %s", path);
        bm_cause(err, "%s was %s and is %s", keys[i],
                 bm_mapfile_noted(map, keys[i]), value_of(id, i));
        return bm_remedy(err, "begin again without --resume");
    }
    return 0;
}

static int to_bitmap(const struct bm_mapfile *map, struct bm_bitmap **out,
                     struct bm_error *err)
{
    uint64_t offset = 0, length;

    *out = bm_bitmap_new(map->size, BM_DIGEST_BLOCK);
    if (!*out)
        return bm_fail_errno(err, ENOMEM, "cannot go on with the copy");
    for (; bm_mapfile_next(map, BM_AREA_FINISHED, offset, map->size, &offset,
                           &length);
         offset += length)
        bm_bitmap_set(*out, offset, length);
    return 0;
}

int bm_image_copy_state_load(const char *path,
                             const struct bm_image_copy_identity *id,
                             struct bm_bitmap **out, struct bm_error *err)
{
    BM_MAPFILE *map = NULL;
    int rc = bm_mapfile_load(path, id->size, &map, err);

    if (rc == -EBADMSG)
        return damaged(path, err);
    if (rc == 0)
        rc = is_sound(map, path, err);
    if (rc == 0)
        rc = is_same(map, path, id, err);
    return rc ? rc : to_bitmap(map, out, err);
}

static int fill(struct bm_mapfile *map, const struct bm_image_copy_identity *id,
                const struct bm_bitmap *done)
{
    uint64_t offset = 0, length;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < N_KEYS; i++)
        rc = bm_mapfile_note(map, keys[i], value_of(id, i));
    for (; rc == 0 &&
           bm_bitmap_next(done, false, offset, id->size, &offset, &length);
         offset += length)
        rc = bm_mapfile_set(map, offset, length, BM_AREA_FINISHED);
    return rc;
}

int bm_image_copy_state_save(const char *path,
                             const struct bm_image_copy_identity *id,
                             const struct bm_bitmap *done, struct bm_error *err)
{
    BM_MAPFILE *map = bm_mapfile_new(id->size);
    char hex[SUM_HEX];
    int rc = map ? fill(map, id, done) : -ENOMEM;

    if (rc)
        return bm_fail_errno(err, -rc, "cannot save %s", path);
    rc = checksum(map, hex, err);
    if (rc == 0 && bm_mapfile_note(map, "checksum", hex) != 0)
        rc = bm_fail_errno(err, ENOMEM, "cannot save %s", path);
    return rc ? rc : bm_mapfile_save(map, path, err);
}
