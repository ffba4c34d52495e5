// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * snapshot pull and flatten: layers go up into a new image, which takes their
 * place beside them. It is a move in place.
 */
#include "blockmig/image/owned-file.h"
#include "blockmig/plan/move-plan.h"
#include "blockmig/preflight/preflight.h"
#include "blockmig/plan/snapshot-plan.h"
#include "cli/session/detach.h"
#include "cli/session/launch.h"
#include "cli/session/snapshot-context.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/paths.h"
#include "cli/commands/commands.h"

#include <errno.h>
#include <string.h>

struct flatten_context {
    struct cli_session session; /* job, connection, ... */
    struct cli_snapshot_context of;
    struct bm_datastore *store;
};

static void flatten_end(struct flatten_context *f)
{
    bm_datastore_free(f->store);
    cli_snapshot_context_end(&f->of);
    cli_session_end(&f->session);
}
#define FLATTEN __attribute__((cleanup(flatten_end))) struct flatten_context

static int refuse(int code, enum bm_exit status, struct bm_error *err)
{
    return bm_status(err, status), -code;
}

static int find_disk(const struct flatten_context *f, struct bm_disk **out,
                     struct bm_error *err)
{
    int rc = cli_disk(f->of.domain, f->session.options->disk, out, err);

    if (rc)
        return rc;
    if ((*out)->chain.n && (*out)->chain.layers[0].type == BM_SOURCE_FILE)
        return 0;
    bm_fail(err, ENOENT, "disk %s of %s is no file", (*out)->target,
            f->of.domain->name);
    return refuse(ENOENT, BM_EXIT_REFUSED, err);
}

/* A path, or vda[n] with the number of the live XML; NULL: none is asked for.
 */
static int find_base(const struct flatten_context *f,
                     const struct bm_disk *disk, const char **out,
                     struct bm_error *err)
{
    const char *name = f->session.options->base;
    const struct bm_layer *numbered =
        name ? bm_disk_numbered(disk, name) : NULL;

    *out = name;
    for (size_t l = 1; name && l < disk->chain.n; l++) {
        const struct bm_layer *layer = &disk->chain.layers[l];

        if (layer == numbered ||
            (layer->path && bm_same_file(name, layer->path)))
            return *out = layer->path, 0;
    }
    return 0;
}

/* Nothing stands below, or nothing stands between. */
static int check_chain(const struct flatten_context *f,
                       const struct bm_disk *disk, const char *base,
                       struct bm_error *err)
{
    struct bm_chain chain;
    bool nothing;
    int rc = bm_chain_copy(&disk->chain, &chain);

    if (rc)
        return bm_fail_errno(err, ENOMEM, "cannot make a plan");
    rc = f->of.domain->active ? 0 : bm_chain_complete(&chain, err);
    nothing =
        !rc && (chain.n == 1 || (base && chain.n > 1 && chain.layers[1].path &&
                                 !strcmp(chain.layers[1].path, base)));
    bm_chain_clear(&chain);
    if (rc || !nothing)
        return rc ? refuse(-rc, BM_EXIT_REFUSED, err) : 0;
    bm_fail(err, EINVAL, "nothing is to be pulled into disk %s of %s",
            disk->target, f->of.domain->name);
    bm_cause(err, base ? "it stands on that layer already"
                       : "it is one image already");
    return refuse(EINVAL, BM_EXIT_REFUSED, err);
}

/* --- the plan ----------------------------------------------------------- */

static int make_job(struct flatten_context *f, const struct bm_disk *disk,
                    const char *base, const char *name, struct bm_error *err)
{
    const struct cli_options *o = f->session.options;
    const char *disks[] = {disk->target, NULL};
    const struct bm_move_options options = {
        .domain = f->of.domain->name,
        .disks = disks,
        .store = f->store->name,
        .strategy = f->of.domain->active ? "staged" : "auto",
        .format = "keep",
        .name = name,
        .in_place = true,
        .base = base,
        .overlay_on = "source",
        .proof = true,
        .proof_asked = true,
        .source_delete = true,
        .bandwidth = o->bandwidth,
        .max_pause_ms = (int)o->max_pause,
        .switch_max = o->switch_max,
        .guest_latency = o->guest_latency,
    };

    return bm_plan_make(f->session.conn, f->of.domain, f->store, &options,
                        &f->session.job, err);
}

static int plan(struct flatten_context *f, const struct cli *cli,
                struct bm_error *err)
{
    const char *verb = cli->command->words + strlen("snapshot "), *base = NULL;
    BM_FREE char *folder = NULL, *path = NULL;
    struct bm_disk *disk;
    int rc = find_disk(f, &disk, err);

    if (rc == 0)
        rc = find_base(f, disk, &base, err);
    if (rc == 0)
        rc = check_chain(f, disk, base, err);
    if (rc < 0)
        return rc;
    folder = bm_file_folder(disk->chain.layers[0].path);
    path = folder ? bm_snapshot_overlay_name(disk->chain.layers[0].path, folder,
                                             &f->of.points, NULL, verb)
                  : NULL;
    if (!path)
        return bm_fail_errno(err, ENOMEM, "cannot make a plan");
    rc = bm_datastore_open(NULL, folder, &f->store, err);
    if (rc == 0)
        rc = make_job(f, disk, base, strrchr(path, '/') + 1, err);
    if (rc < 0)
        return rc;
    f->session.job->snapshot = bm_job_snapshot_new(verb);
    return f->session.job->snapshot
               ? 0
               : bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

static int look(void *opaque, const struct cli *cli, struct bm_error *err)
{
    struct flatten_context *f = opaque;
    int rc = cli_snapshot_context_look(cli, f->session.conn, CLI_KIN_NONE,
                                       &f->of, err);

    return rc ? rc : plan(f, cli, err);
}

static int preflight(void *opaque, struct bm_preflight *out,
                     struct bm_error *err)
{
    struct flatten_context *f = opaque;

    return bm_preflight_run(f->session.conn, f->of.domain, f->store,
                            f->session.job, out, err);
}

/* --- the command -------------------------------------------------------- */

static const struct cli_task task = {look, preflight, bm_plan_text};

static int flatten_now(struct cli *cli, struct bm_error *err)
{
    FLATTEN f = {.session = CLI_SESSION_INIT(&cli->options)};

    return cli_task_run(cli, &f.session, &task, &f, err);
}

static int dry_run(struct cli *cli, struct bm_error *err)
{
    FLATTEN f = {.session = CLI_SESSION_INIT(&cli->options)};

    return cli_task_dry_run(cli, &f.session, &task, &f, err);
}

int cli_snapshot_flatten(struct cli *cli, struct bm_error *err)
{
    if (!strcmp(cli->command->words, "snapshot pull") && !cli->options.base) {
        bm_fail(err, EINVAL, "option --base IMG|vda[n]");
        bm_cause(err, "missing");
        bm_remedy(err, "without a base it is 'blockmig snapshot flatten'");
        return bm_status(err, BM_EXIT_USAGE), -EINVAL;
    }
    if (cli->options.dry_run)
        return dry_run(cli, err);
    if (cli->options.detach)
        return cli_detach(cli, flatten_now, err);
    return flatten_now(cli, err);
}
