// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* snapshot verify: the frozen layers of a domain against their manifests. */
#include "blockmig/image/verify-layer.h"
#include "blockmig/job/job-store.h"
#include "cli/output/bytes.h"
#include "cli/session/snapshot-context.h"
#include "cli/commands/verify.h"
#include "cli/session/store-watchdog.h"
#include "nbd/thread/background.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-store-ops.h"
#include "cli/output/write.h"
#include "cli/commands/commands.h"
#include "nbd/thread/rate-limit.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define LOOK_MS 2000

struct verifying {
    struct bm_connection *conn;
    struct bm_domain *domain;
    int64_t looked_ms;
    bool json, gave_way;
};

/* A job of ours has begun: it goes first. */
static bool job_began(struct verifying *v)
{
    struct bm_error ignored = BM_ERROR_INIT;

    if (bm_now_ms() - v->looked_ms < LOOK_MS)
        return false;
    v->looked_ms = bm_now_ms();
    return bm_domain_refresh(v->conn, v->domain, &ignored) == 0 &&
           v->domain->stamp;
}

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct verifying *v = opaque;

    v->gave_way |= job_began(v);
    if (v->gave_way)
        return 1;
    return v->json ? cli_stop_asked()
                   : cli_bytes_progress("verifying", done, total);
}

static int gave_way(const struct verifying *v, struct bm_error *err)
{
    bm_fail(err, ECANCELED, "the verify of %s gave way", v->domain->name);
    bm_cause(err, "a job of blockmig has begun on it");
    return bm_remedy(err, "verify again when that has ended"), -ECANCELED;
}

/* --- what is told -------------------------------------------------------- */

static const char *word(const struct bm_verify_result *result)
{
    static const char *const words[] = {"noted", "as it was", "CHANGED",
                                        "accepted"};

    return words[result->verified];
}

static json_object *layer_json(const struct bm_chain *view,
                               const struct bm_verify_result *result)
{
    static const char *const words[] = {"noted", "same", "differs", "accepted"};
    json_object *o = json_object_new_object();

    if (!o)
        return NULL;
    bm_report_add_text(o, "image", view->layers[0].path);
    bm_report_add_text(o, "verified", words[result->verified]);
    bm_report_add_text(o, "digest", result->digest);
    bm_report_add_text(o, "medium", result->medium);
    bm_report_add_bytes(o, "different", result->different);
    bm_report_add_ranges(o, "ranges", result->ranges, result->n);
    return o;
}

static void layer_text(const struct bm_chain *view,
                       const struct bm_verify_result *result)
{
    cli_print("%-9s  %s  sha256 %s\n", word(result), view->layers[0].path,
              result->digest);
    for (size_t i = 0; i < result->n; i++)
        cli_print("    %" PRIu64 " %" PRIu64 "\n", result->ranges[i].offset,
                  result->ranges[i].length);
}

/* --- layers -------------------------------------------------------------- */

static int verify_layer(struct verifying *v, const struct bm_verify *how,
                        const struct bm_image_tree *tree, int i,
                        json_object *array, bool *differs, struct bm_error *err)
{
    struct bm_verify_result result;
    struct bm_chain view;
    int rc = bm_tree_chain(tree, i, &view);

    if (rc)
        return bm_fail_errno(err, ENOMEM, "cannot verify");
    rc = bm_verify_layer(how, &view, &result, err);
    if (rc == -ECANCELED && v->gave_way)
        rc = gave_way(v, err);
    if (!rc && v->json)
        json_object_array_add(array, layer_json(&view, &result));
    else if (!rc)
        layer_text(&view, &result);
    *differs |= !rc && result.verified == BM_VERIFIED_DIFFERS;
    bm_verify_result_clear(&result);
    bm_chain_clear(&view);
    return rc;
}

struct all {
    struct cli_snapshot_context *context;
    const struct cli_options *options;
    const char *dir;
    const struct bm_restore_point *point;
    json_object *array;
    bool differs;
    const char *unread; /* an image that could not be; borrowed */
    struct bm_error *err;
};

/* It cannot be read: nobody knows what it is. */
static void tell_unread(struct all *all, const struct bm_tree_image *image)
{
    const char *why = image->broken ? image->broken : "it is missing";
    json_object *o = all->array ? json_object_new_object() : NULL;

    all->unread = image->layer.path;
    if (!all->array)
        cli_print("%-9s  %s: %s\n", "UNREAD", image->layer.path, why);
    if (!o)
        return;
    bm_report_add_text(o, "image", image->layer.path);
    bm_report_add_text(o, "verified", "unread");
    bm_report_add_text(o, "error", why);
    json_object_array_add(all->array, o);
}

/* What nobody writes to: of a running guest all but the active layers; of one
 * that is off these are at rest, but for how long? */
static bool wanted(const struct cli_snapshot_context *p, int i,
                   const struct bm_restore_point *point, const char *disk)
{
    const struct bm_tree_image *image = &p->tree.list[i];

    if (image->top || image->other ||
        (image->layer.type != BM_SOURCE_FILE &&
         image->layer.type != BM_SOURCE_BLOCK))
        return false;
    if (disk && (image->disk < 0 ||
                 strcmp(p->domain->disks[image->disk].target, disk) != 0))
        return false;
    return !point || bm_tree_is_point(&p->tree, i, point);
}

/* For bm_background. */
static int verify_all(void *opaque)
{
    struct all *all = opaque;
    struct cli_snapshot_context *p = all->context;
    const struct cli_options *o = all->options;
    struct verifying v = {.conn = p->conn,
                          .domain = p->domain,
                          .looked_ms = bm_now_ms(),
                          .json = o->json};
    const struct bm_verify how = {
        .manifests = {.dir = all->dir, .uuid = p->domain->uuid},
        .rate_limit = bm_rate_limit_new(o->bandwidth),
        .accept = o->force,
        .progress = on_progress,
        .opaque = &v};
    int rc =
        how.rate_limit ? 0 : bm_fail_errno(all->err, ENOMEM, "cannot verify");

    for (size_t i = 0; !rc && i < p->tree.n; i++) {
        const struct bm_tree_image *image = &p->tree.list[i];

        if (!wanted(p, (int)i, all->point, o->disk))
            continue;
        if (!image->there || image->broken)
            tell_unread(all, image);
        else
            rc = verify_layer(&v, &how, &p->tree, (int)i, all->array,
                              &all->differs, all->err);
    }
    bm_rate_limit_free(how.rate_limit);
    return rc;
}

/* What hangs, hangs in a read that nobody else waits for. */
static int go_on(void *opaque, struct bm_error *err)
{
    return 0;
}

static int differing(const struct cli_snapshot_context *p, struct bm_error *err)
{
    bm_fail(err, EBADMSG, "a layer of %s is not what it was", p->domain->name);
    bm_cause(err, "its medium has failed, or somebody has written to it");
    bm_remedy(err, "it is not merged any more; --force takes it for right");
    return bm_status(err, BM_EXIT_PROOF), -EBADMSG;
}

static int unread(const struct cli_snapshot_context *p, const char *image,
                  struct bm_error *err)
{
    bm_fail(err, EIO, "cannot verify %s", image);
    bm_remedy(err, "see 'blockmig snapshot doctor %s'", p->domain->name);
    return -EIO;
}

int cli_verify(struct cli_snapshot_context *context,
               const struct cli_options *options, const char *dir,
               const struct bm_restore_point *point, struct bm_error *err)
{
    struct all all = {.context = context,
                      .options = options,
                      .dir = dir,
                      .point = point,
                      .array = options->json ? json_object_new_array() : NULL,
                      .err = err};
    const struct bm_background how = {.work = verify_all,
                                      .look = go_on,
                                      .opaque = &all,
                                      .idle = context->domain->active};
    int rc;

    (void)cli_watchdog_end();
    cli_catch_signals();
    rc = bm_background_run(&how, err);
    if (options->json && !rc)
        cli_json(json_object_get(all.array));
    json_object_put(all.array);
    if (!rc && all.differs)
        return differing(context, err);
    return !rc && all.unread ? unread(context, all.unread, err) : rc;
}

int cli_snapshot_verify(struct cli *cli, struct bm_error *err)
{
    const struct bm_restore_point *point = NULL;
    struct bm_job_store *jobs = NULL;
    struct bm_disk *disk = NULL;
    CLI_SNAPSHOT_CONTEXT context = {0};
    int rc = cli_snapshot_context_read(cli, CLI_KIN_ALL, &context, err);

    if (!rc && cli->n_args > 1)
        rc = cli_snapshot_context_point(&context, cli->args[1], &point, err);
    if (!rc && cli->options.disk)
        rc = cli_disk(context.domain, cli->options.disk, &disk, err);
    if (!rc)
        rc = cli_open_jobs(&cli->options, false, &jobs, err);
    if (!rc)
        rc = cli_verify(&context, &cli->options, bm_job_store_dir(jobs), point,
                        err);
    bm_job_store_close(jobs);
    return rc;
}
