// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job-store.h"
#include "blockmig/imagecopy/image-copy.h"
#include "cli/output/bytes.h"
#include "cli/output/output.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "cli/commands/commands.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int progress(void *opaque, const char *phase, uint64_t done,
                    uint64_t total)
{
    static const char *last;

    if (!last || strcmp(last, phase) != 0)
        cli_phase(last = phase);
    return cli_bytes_progress(phase, done, total);
}

/* --- what is asked for -------------------------------------------------- */

static int usage(struct bm_error *err, const char *what, const char *why)
{
    bm_fail(err, EINVAL, "%s", what);
    bm_cause(err, "%s", why);
    bm_status(err, BM_EXIT_USAGE);
    return -EINVAL;
}

static int check(const struct cli_options *o, struct bm_error *err)
{
    bool rescue = strcmp(o->on_read_error, "rescue") == 0;

    if (o->verify_from && !o->verify)
        return usage(err, "--verify-from", "is of use with --verify only");
    if (rescue && !o->mapfile)
        return usage(err, "--on-read-error rescue", "needs --mapfile FILE");
    if (!rescue && (o->mapfile || o->fill_from || o->retries))
        return usage(err, "--mapfile, --retries and --fill-from",
                     "are of use with --on-read-error rescue only");
    if (rescue && (o->verify || o->bandwidth))
        return usage(err, "--on-read-error rescue",
                     "cannot be combined with --verify or --bandwidth");
    return 0;
}

static int ask(const struct cli *cli, struct bm_image_copy *t,
               struct bm_error *err)
{
    const struct cli_options *o = &cli->options;

    *t = (struct bm_image_copy){
        .source = cli->args[0],
        .target = cli->args[1],
        .source_format = o->image_format,
        .target_format = o->output_format,
        .tls_certificates = o->tls_certificates,
        .tls_psk = o->tls_psk,
        .direct = strcmp(o->cache, "none") == 0,
        .share = o->force_share,
        .force = o->force,
        .resume = o->resume,
        .verify = o->verify,
        .verify_cached = o->verify_from && strcmp(o->verify_from, "cache") == 0,
        .manifest = o->manifest,
        .bandwidth = o->bandwidth,
        .rescue = strcmp(o->on_read_error, "rescue") == 0,
        .mapfile = o->mapfile,
        .retries = (unsigned)o->retries,
        .fill_from = o->fill_from,
        .progress = progress,
    };
    if (bm_digest_find(o->digest, &t->digest, err) < 0)
        return bm_status(err, BM_EXIT_USAGE);
    return check(o, err);
}

/* --- what came of it ---------------------------------------------------- */

static json_object *result_json(const struct bm_image_copy *t,
                                const struct bm_image_copy_result *r,
                                const struct bm_error *err)
{
    json_object *o = bm_report_event("result", NULL);
    char line[2100];

    if (!o)
        return NULL;
    bm_report_add_number(o, "exit_status", err->code ? (int)err->status : 0);
    if (err->code)
        bm_error_line(err, line, sizeof line);
    bm_report_add_text(o, "error", err->code ? line : NULL);
    bm_report_add_text(o, "source", t->source);
    bm_report_add_text(o, "target", t->target);
    bm_report_add_bytes(o, "size", r->size);
    bm_report_add_bytes(o, "data", r->data);
    bm_report_add_bytes(o, "zeroes", r->zeroes);
    bm_report_add_bytes(o, "kept", r->kept);
    bm_report_add_bytes(o, "repaired", r->repaired);
    bm_report_add_text(o, "medium", r->medium);
    bm_report_add_text(o, "digest", r->root[0] ? r->root : NULL);
    bm_report_add_bool(o, "partial", r->partial);
    bm_report_add_ranges(o, "unreadable", r->bad, r->n_bad);
    bm_report_add_bytes(o, "filled", r->filled_bytes);
    bm_report_add_number(o, "copy_ms", r->copy_ms);
    bm_report_add_number(o, "verify_ms", r->verify_ms);
    return o;
}

static void result_text(const struct bm_image_copy *t,
                        const struct bm_image_copy_result *r)
{
    char data[32], zero[32], kept[32];

    for (size_t i = 0; i < r->n_bad; i++)
        cli_print("%" PRIu64 " %" PRIu64 "\n", r->bad[i].offset,
                  r->bad[i].length);
    cli_say("copied %s of data, %s of zeroes in %.1f s",
            bm_format_size(r->data, data, sizeof data),
            bm_format_size(r->zeroes, zero, sizeof zero),
            (double)r->copy_ms / 1000);
    if (r->kept)
        cli_say("; %s were there", bm_format_size(r->kept, kept, sizeof kept));
    cli_say("\n");
    if (r->filled_bytes)
        cli_say("%s could not be read and come from %s; %s says which\n",
                bm_format_size(r->filled_bytes, data, sizeof data),
                t->fill_from, t->mapfile);
    if (t->verify)
        cli_say("proven by re-reading the target (%s) in %.1f s\n", r->medium,
                (double)r->verify_ms / 1000);
    if (r->root[0])
        cli_say("%s  %s%s\n", r->root, t->target,
                r->partial ? " (partial)" : "");
}

static int tell(struct cli *cli, const struct bm_image_copy *t,
                const struct bm_image_copy_result *r, struct bm_error *err)
{
    bool listed =
        err->status == BM_EXIT_UNREADABLE || err->status == BM_EXIT_PROOF;

    if (cli->options.json)
        cli_result_json_line(result_json(t, r, err));
    else if (!err->code || listed)
        result_text(t, r);
    return err->code ? -err->code : 0;
}

int cli_copy(struct cli *cli, struct bm_error *err)
{
    const char *state = cli->options.state;
    BM_FREE char *dir = state ? strdup(state) : bm_state_dir_default();
    struct bm_image_copy copy;
    struct bm_image_copy_result result;
    int rc = ask(cli, &copy, err);

    if (rc < 0)
        return rc;
    if (!dir)
        return bm_fail_errno(err, ENOMEM, "cannot copy");
    copy.state_dir = dir;
    cli_catch_signals();
    (void)bm_image_copy_run(&copy, &result, err);
    rc = tell(cli, &copy, &result, err);
    bm_image_copy_result_clear(&result);
    return rc;
}
