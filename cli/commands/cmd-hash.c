// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * blockmig hash: digests of images, a manifest of one, a check of one against
 * its manifest, or the manifest brought up to date.
 */
#include "cli/output/bytes.h"
#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img.h"
#include "nbd/copy/scan.h"
#include "nbd/digest/manifest-file.h"
#include "cli/output/write.h"
#include "cli/commands/commands.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct hashing {
    const struct cli_options *options;
    const struct bm_digest *digest;
    const char *name;      /* of the image */
    struct bm_device *dev; /* owned, as all that follows */
    struct bm_manifest *manifest;
    struct bm_rate_limit *rate_limit;
};

static void clear(struct hashing *h)
{
    bm_device_close(h->dev);
    bm_manifest_close(h->manifest);
    bm_rate_limit_free(h->rate_limit);
    h->dev = NULL;
    h->manifest = NULL;
    h->rate_limit = NULL;
}
#define HASHING __attribute__((cleanup(clear))) struct hashing

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    const struct hashing *h = opaque;

    /* a document at the end is all that JSON gets */
    return h->options->json ? cli_stop_asked()
                            : cli_bytes_progress("hashing", done, total);
}

static struct bm_scan scan_of(struct hashing *h, const struct bm_bitmap *only)
{
    return (struct bm_scan){.device = h->dev,
                            .only = only,
                            .rate_limit = h->rate_limit,
                            .progress = on_progress,
                            .opaque = h};
}

static int open_image(struct hashing *h, const char *dirty, unsigned depth,
                      struct bm_error *err)
{
    const struct cli_options *o = h->options;
    struct bm_open how = {.format = o->image_format,
                          .dirty = dirty,
                          .depth = depth,
                          .queues = bm_device_lanes(),
                          .direct = strcmp(o->cache, "none") == 0,
                          .share = o->force_share,
                          .tls_certificates = o->tls_certificates,
                          .tls_psk = o->tls_psk};
    int rc = bm_device_open(h->name, &how, &h->dev, err);

    if (rc == -EBUSY)
        bm_remedy(err, "stop who writes it, or give -U (--force-share) to "
                       "read it all the same");
    if (rc)
        return rc;
    h->rate_limit = bm_rate_limit_new(o->bandwidth);
    return h->rate_limit ? 0 : bm_fail_errno(err, ENOMEM, "cannot hash");
}

/* --- a digest, and a manifest with it ----------------------------------- */

static void say_root(const struct hashing *h, const char *root, bool partial)
{
    json_object *o;

    if (!h->options->json) {
        cli_print("%s  %s%s\n", root, h->name, partial ? " (partial)" : "");
        return;
    }
    o = json_object_new_object();
    if (o) {
        bm_report_add_text(o, "image", h->name);
        bm_report_add_text(o, "algorithm", h->digest->name);
        bm_report_add_text(o, "digest", root);
        bm_report_add_bool(o, "partial", partial);
        bm_report_add_bytes(o, "size", bm_manifest_length(h->manifest));
        bm_report_add_text(o, "medium", h->dev->medium);
    }
    cli_json(o);
}

/* The end of a hash: the root, and the manifest under its name. */
static int finish(struct hashing *h, const char *path, struct bm_error *err)
{
    char root[BM_DIGEST_HEX];
    bool partial;
    int rc = bm_manifest_finish(h->manifest, root, &partial, err);

    if (rc == 0 && path)
        rc = bm_manifest_save(h->manifest, path, err);
    if (rc == 0)
        say_root(h, root, partial);
    return rc;
}

static int hash(struct hashing *h, struct bm_error *err)
{
    const char *path = h->options->manifest;
    struct bm_scan scan;
    int rc = path ? bm_manifest_may_replace(path, err) : 0;

    if (rc == 0)
        rc = open_image(h, NULL, 0, err);
    if (rc == 0)
        rc = bm_manifest_new(NULL, NULL, h->digest, h->dev->size, &h->manifest,
                             err);
    if (rc)
        return rc;
    scan = scan_of(h, NULL);
    rc = bm_scan_hash(&scan, h->manifest, err);
    return rc ? rc : finish(h, path, err);
}

/* --- check -------------------------------------------------------------- */

static json_object *check_json(const struct hashing *h,
                               const struct bm_bitmap *differ)
{
    json_object *o = json_object_new_object();
    json_object *ranges = json_object_new_array();
    uint64_t at = 0, length, size = bm_bitmap_size(differ);

    for (; bm_bitmap_next(differ, false, at, size, &at, &length);
         at += length) {
        json_object *range = json_object_new_object();

        bm_report_add_bytes(range, "offset", at);
        bm_report_add_bytes(range, "length", length);
        json_object_array_add(ranges, range);
    }
    bm_report_add_text(o, "image", h->name);
    bm_report_add_text(o, "manifest", h->options->check);
    bm_report_add_bool(o, "equal", bm_bitmap_count(differ) == 0);
    bm_report_add_bytes(o, "different", bm_bitmap_count(differ));
    bm_report_add_text(o, "medium", h->dev->medium);
    json_object_object_add(o, "ranges", ranges);
    return o;
}

static void check_text(const struct hashing *h, const struct bm_bitmap *differ)
{
    uint64_t at = 0, length, size = bm_bitmap_size(differ);

    for (; bm_bitmap_next(differ, false, at, size, &at, &length); at += length)
        cli_print("%" PRIu64 " %" PRIu64 "\n", at, length);
    if (bm_bitmap_count(differ) == 0)
        cli_say("%s is as %s says (%s).\n", h->name, h->options->check,
                h->dev->medium);
}

static int verdict(const struct hashing *h, const struct bm_bitmap *differ,
                   struct bm_error *err)
{
    if (h->options->json)
        cli_json(check_json(h, differ));
    else
        check_text(h, differ);
    if (bm_bitmap_count(differ) == 0)
        return 0;
    bm_fail(err, EBADMSG, "%s is not as %s says", h->name, h->options->check);
    bm_cause(err, "%" PRIu64 " bytes differ or are unknown",
             bm_bitmap_count(differ));
    return bm_status(err, BM_EXIT_PROOF);
}

static int same_length(const struct hashing *h, struct bm_error *err)
{
    uint64_t length = bm_manifest_length(h->manifest);

    if (length == h->dev->size)
        return 0;
    bm_fail(err, EBADMSG, "%s is not as its manifest says", h->name);
    bm_cause(err, "it has %" PRIu64 " bytes, the manifest %" PRIu64,
             h->dev->size, length);
    return bm_status(err, BM_EXIT_PROOF);
}

static int check(struct hashing *h, struct bm_error *err)
{
    BM_BITMAP *differ = NULL;
    struct bm_scan scan;
    int rc = bm_manifest_open(h->options->check, &h->manifest, err);

    if (rc == 0)
        rc = open_image(h, NULL, 0, err);
    if (rc == 0)
        rc = same_length(h, err);
    if (rc)
        return rc;
    differ = bm_bitmap_new(h->dev->size, BM_DIGEST_BLOCK);
    if (!differ)
        return bm_fail_errno(err, ENOMEM, "cannot check %s", h->name);
    scan = scan_of(h, NULL);
    rc = bm_scan_check(&scan, h->manifest, differ, err);
    return rc ? rc : verdict(h, differ, err);
}

/* --- update ------------------------------------------------------------- */

struct base {
    const char *path; /* as realpath(3) has it, or NULL */
    unsigned depth;
};

static int is_base(void *opaque, unsigned depth, const char *layer,
                   struct bm_error *err)
{
    struct base *base = opaque;
    BM_FREE char *real = realpath(layer, NULL);

    base->depth = depth;
    return depth && real && base->path && strcmp(real, base->path) == 0;
}

/* How many layers of the image lie above base. */
static int depth_of(const char *image, const char *format, const char *path,
                    unsigned *depth, struct bm_error *err)
{
    BM_FREE char *real = realpath(path, NULL);
    struct base base = {.path = real};
    int rc = bm_image_walk(image, format, is_base, &base, err);

    *depth = base.depth;
    if (rc)
        return rc < 0 ? rc : 0;
    bm_fail(err, EINVAL, "cannot tell what changed since %s", path);
    bm_cause(err, "%s does not stand on it", image);
    return bm_status(err, BM_EXIT_USAGE);
}

/* The blocks that the map says are not clean. */
static int changed(struct hashing *h, struct bm_bitmap *into,
                   struct bm_error *err)
{
    struct bm_extent runs[256];
    uint64_t at = 0;
    size_t n;
    int rc = 0;

    while (rc == 0 && at < h->dev->size) {
        rc = bm_device_extents(h->dev, 0, BM_MAP_DIRTY, at, h->dev->size - at,
                               runs, sizeof runs / sizeof *runs, &n, err);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            if (!runs[i].zero)
                bm_bitmap_set(into, runs[i].offset, runs[i].length);
            at = runs[i].offset + runs[i].length;
        }
    }
    return rc;
}

/* A copy of the old manifest, in the making again. */
static int take_up(struct hashing *h, struct bm_error *err)
{
    const char *path = h->options->update;
    struct bm_manifest *old = NULL;
    int rc = bm_manifest_open(path, &old, err);

    if (rc == 0)
        rc = bm_manifest_copy(old, &h->manifest, err);
    if (rc == 0)
        h->digest = bm_manifest_digest(old);
    bm_manifest_close(old);
    return rc;
}

static int update(struct hashing *h, struct bm_error *err)
{
    BM_BITMAP *todo = NULL;
    struct bm_scan scan;
    const struct cli_options *o = h->options;
    unsigned depth = 0;
    int rc = take_up(h, err);

    if (rc == 0 && o->changed_since)
        rc = depth_of(h->name, o->image_format, o->changed_since, &depth, err);
    if (rc == 0)
        rc = open_image(h, o->dirty, depth, err);
    if (rc == 0)
        rc = same_length(h, err);
    if (rc)
        return rc;
    todo = bm_bitmap_new(h->dev->size, BM_DIGEST_BLOCK);
    if (!todo)
        return bm_fail_errno(err, ENOMEM, "cannot update %s",
                             h->options->update);
    rc = changed(h, todo, err);
    scan = scan_of(h, todo);
    if (rc == 0)
        rc = bm_scan_hash(&scan, h->manifest, err);
    return rc ? rc : finish(h, h->options->update, err);
}

/* --- the command -------------------------------------------------------- */

static int usage(struct bm_error *err, const char *what, const char *why)
{
    bm_fail(err, EINVAL, "%s", what);
    bm_cause(err, "%s", why);
    bm_status(err, BM_EXIT_USAGE);
    return -EINVAL;
}

static int check_options(const struct cli *cli, struct bm_error *err)
{
    const struct cli_options *o = &cli->options;
    bool one = o->manifest || o->check || o->update;

    if (one && cli->n_args > 1)
        return usage(err, "--manifest, --check and --update",
                     "take one image only");
    if (!!o->manifest + !!o->check + !!o->update > 1)
        return usage(err, "--manifest, --check and --update",
                     "cannot be combined");
    if (o->update ? !o->dirty == !o->changed_since
                  : o->dirty || o->changed_since)
        return usage(err, "--update",
                     "goes with one of --dirty and --changed-since");
    return 0;
}

int cli_hash(struct cli *cli, struct bm_error *err)
{
    const struct cli_options *o = &cli->options;
    const struct bm_digest *digest;
    int rc = check_options(cli, err);

    if (rc == 0 && bm_digest_find(o->digest, &digest, err) < 0)
        rc = bm_status(err, BM_EXIT_USAGE);
    cli_catch_signals();
    for (int i = 0; rc == 0 && i < cli->n_args; i++) {
        HASHING h = {.options = o, .digest = digest, .name = cli->args[i]};

        rc = o->check    ? check(&h, err)
             : o->update ? update(&h, err)
                         : hash(&h, err);
    }
    return rc;
}
