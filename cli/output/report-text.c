// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A job as people read it. */
#include "blockmig/image/bad-areas.h"
#include "cli/output/report-snapshot.h"
#include "cli/output/report.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"
#include "cli/output/write.h"
#include "blockmig/report/job-names.h"
#include "blockmig/report/json.h"

#include <inttypes.h>
#include <string.h>

#define RANGES 64 /* that a person is shown */

static void range_text(const struct bm_bad_areas *bad, bool filled)
{
    size_t shown = 0, more = 0;

    for (size_t i = 0; i < bad->n; i++) {
        if (bad->filled[i] != filled)
            continue;
        if (shown++ < RANGES)
            cli_print("    %" PRIu64 " %" PRIu64 "\n", bad->ranges[i].offset,
                      bad->ranges[i].length);
        else
            more++;
    }
    if (more)
        cli_print("    and %zu more\n", more);
}

/* Guest offset and length of each. */
static void gaps_text(const struct bm_job *job, const struct bm_job_disk *d)
{
    struct bm_error err = BM_ERROR_INIT;
    BM_BAD_AREAS bad = {0};
    char line[2100];

    if (!bm_report_has_gaps(d))
        return;
    if (bm_bad_areas_load(d->rescue.map, d->fixed.capacity, &bad, &err) != 0) {
        bm_error_line(&err, line, sizeof line);
        cli_print("  the list of what is unreadable is lost: %s\n", line);
    }
    if (d->rescue.unreadable_bytes)
        cli_print("  UNREADABLE: %" PRIu64 " bytes, zeroes on the new image; "
                  "offset and length:\n",
                  d->rescue.unreadable_bytes);
    range_text(&bad, false);
    if (d->rescue.filled_bytes)
        cli_print("  filled from %s: %" PRIu64 " bytes; offset and length:\n",
                  job->request.fill_from, d->rescue.filled_bytes);
    range_text(&bad, true);
    cli_print("  map: %s\n", d->rescue.map);
}

static void proof_text(const struct bm_job *job, const struct bm_job_disk *d)
{
    char bytes[32], different[32];

    if (d->proof.proven && d->rescue.unproven_bytes)
        cli_print("  proven: all but %s, in whose blocks something is "
                  "unreadable (read from %s); sha256 of the new image %s\n",
                  bm_format_size(d->rescue.unproven_bytes, different,
                                 sizeof different),
                  d->proof.medium, d->proof.digest_dest);
    else if (d->proof.proven)
        cli_print("  proven: %s compared, 0 different (read from %s), "
                  "sha256 %s\n",
                  bm_format_size(d->proof.bytes, bytes, sizeof bytes),
                  d->proof.medium, d->proof.digest_dest);
    else if (d->proof.different)
        cli_print(
            "  NOT proven: %s of %s differ\n",
            bm_format_size(d->proof.different, different, sizeof different),
            bm_format_size(d->proof.bytes, bytes, sizeof bytes));
    else if (job->plan.strategy == BM_STRATEGY_PULL)
        cli_print("  NOT proven: a pull cannot be; until its end the guest "
                  "needed both stores\n");
    else if (!job->request.proof)
        cli_print("  not proven: --proof none was given\n");
}

static void layer_text(const struct bm_job *job, const struct bm_job_disk *d,
                       size_t k)
{
    const struct bm_job_layer *layer = &d->lower[k - 1];

    cli_print("  below it: %s -> %s\n", bm_report_layer_name(d, k),
              bm_job_new_image(d)[k].path);
    if (layer->kept && !layer->deleted)
        cli_print("  kept %s; 'blockmig job release %s' deletes it too\n",
                  bm_report_layer_name(d, k), job->id);
    if (layer->deleted)
        cli_print("  deleted %s\n", bm_report_layer_name(d, k));
}

static void disk_text(const struct bm_job *job, const struct bm_job_disk *d)
{
    char size[32];

    bool back = job->state == BM_STATE_ROLLED_BACK;

    cli_print("%s of %s: %s%s%s (%s)\n", d->target, job->domain,
              bm_report_source_name(d), back ? ", where it was" : " -> ",
              back ? "" : bm_report_dest_name(d),
              bm_format_size(d->fixed.capacity, size, sizeof size));
    /* of a new image that is gone only what was wrong with it is news */
    if (!back || (!d->proof.proven && d->proof.different))
        proof_text(job, d);
    gaps_text(job, d);
    if (d->proof.repaired)
        cli_print("  %s did not read back as written, and had to be written "
                  "again: see 'blockmig job events %s'\n",
                  bm_format_size(d->proof.repaired, size, sizeof size),
                  job->id);
    if (d->kept && !d->deleted && d->rescue.unproven_bytes)
        cli_print("  kept %s, of which not all could be read\n",
                  bm_report_source_name(d));
    else if (d->kept && !d->deleted && !d->proof.proven)
        cli_print("  kept %s; the move was not proven: delete it by hand\n",
                  bm_report_source_name(d));
    else if (d->kept && !d->deleted)
        cli_print("  kept %s; delete it with 'blockmig job release %s'\n",
                  bm_report_source_name(d), job->id);
    if (d->deleted)
        cli_print("  deleted %s\n", bm_report_source_name(d));
    for (size_t k = 1; k <= d->n_lower; k++)
        layer_text(job, d, k);
}

void cli_result_text(const struct bm_job *job)
{
    if (bm_state_final(job->state))
        cli_print("%s: %s after %.1f s", job->id, bm_state_name(job->state),
                  (double)job->result.total_ms / 1000);
    else
        cli_print("%s: stopped in state %s", job->id,
                  bm_state_name(job->state));
    if (job->result.pauses)
        cli_print("; guest paused %.0f ms%s", job->result.pause_ms_longest,
                  job->result.pauses > 1 ? " at the longest" : "");
    cli_print("\n");
    if (bm_report_is_no_move(job)) {
        cli_snapshot_text(job);
        return;
    }
    if (job->state == BM_STATE_DONE && job->cancel)
        cli_print("too late to cancel: the guest was on its new image\n");
    if (job->state == BM_STATE_DONE)
        for (size_t i = 0; i < job->n_disks; i++)
            disk_text(job, &job->disks[i]);
}

static void line_text(const char *name, const char *value)
{
    if (value && value[0])
        cli_print("%-10s %s\n", name, value);
}

const char *cli_running(const struct bm_job *job, bool running)
{
    return !running ? "no" : job->paused ? "paused" : "yes";
}

const char *cli_job_what(const struct bm_job *job, char *buf, size_t size)
{
    const struct bm_job_snapshot *snapshot = job->snapshot;
    const char *name = snapshot ? snapshot->name : NULL;

    if (!snapshot)
        return "move";
    if (!name && !strcmp(snapshot->verb, "delete") && snapshot->n_points)
        name = snapshot->points[0].name;
    snprintf(buf, size, "%s%s%.100s", snapshot->verb, name ? " " : "",
             name ? name : "");
    return buf;
}

void cli_job_text(const struct bm_job *job, bool running)
{
    char created[40], ended[40], what[160];

    line_text("job", job->id);
    line_text("state", bm_state_name(job->state));
    line_text("running", cli_running(job, running));
    line_text("what", cli_job_what(job, what, sizeof what));
    line_text("domain", job->domain);
    line_text("uuid", job->uuid);
    line_text("uri", job->uri);
    line_text("host", job->host);
    line_text("store", job->store);
    line_text("strategy", bm_strategy_name(job->plan.strategy));
    line_text("proof", bm_report_is_no_move(job)
                           ? bm_merge_proof_name(job->snapshot->proof)
                       : job->request.proof ? "full"
                                            : "none");
    if (!bm_report_is_no_move(job))
        line_text("source", job->request.source_delete ? "delete" : "keep");
    line_text("created",
              bm_report_time(job->created_ms, created, sizeof created));
    if (job->result.ended_ms)
        line_text("ended",
                  bm_report_time(job->result.ended_ms, ended, sizeof ended));
    line_text("error", job->result.error);
    if (bm_report_is_no_move(job))
        cli_snapshot_text(job);
    for (size_t i = 0; !bm_report_is_no_move(job) && i < job->n_disks; i++)
        disk_text(job, &job->disks[i]);
    if (!running && !bm_state_final(job->state))
        cli_print("nobody runs it: 'blockmig job resume %s' goes on, with "
                  "--back it goes back\n",
                  job->id);
}
