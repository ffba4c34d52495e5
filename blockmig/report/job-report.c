// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/report/job-report.h"

#include "blockmig/image/bad-areas.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/report/job-names.h"
#include "blockmig/report/json.h"

#include <inttypes.h>

static void add_ms(json_object *o, const char *name, double ms)
{
    json_object_object_add(o, name, json_object_new_double(ms));
}

/* The layers below the image that got one of their own, from the top. */
static json_object *layers_json(const struct bm_job_disk *disk)
{
    json_object *array = json_object_new_array();

    for (size_t k = 1; array && k <= disk->n_lower; k++) {
        const struct bm_job_layer *layer = &disk->lower[k - 1];
        json_object *o = json_object_new_object();

        if (!o)
            break;
        bm_report_add_text(o, "source", bm_report_layer_name(disk, k));
        bm_report_add_text(o, "dest", bm_job_new_image(disk)[k].path);
        bm_report_add_text(o, "kept",
                           layer->kept && !layer->deleted
                               ? bm_report_layer_name(disk, k)
                               : NULL);
        bm_report_add_bool(o, "deleted", layer->deleted);
        json_object_array_add(array, o);
    }
    return array;
}

/* Only the map has the ranges. */
static void add_gaps(json_object *o, const struct bm_job_disk *disk)
{
    json_object *unreadable = json_object_new_array();
    json_object *filled = json_object_new_array();
    BM_BAD_AREAS bad = {0};

    if (bm_report_has_gaps(disk))
        (void)bm_bad_areas_load(disk->rescue.map, disk->fixed.capacity, &bad,
                                NULL);
    for (size_t i = 0; i < bad.n; i++)
        bm_report_append_range(bad.filled[i] ? filled : unreadable,
                               &bad.ranges[i]);
    json_object_object_add(o, "unreadable", unreadable);
    json_object_object_add(o, "filled", filled);
}

static json_object *disk_json(const struct bm_job_disk *disk)
{
    json_object *o = json_object_new_object();

    if (!o)
        return NULL;
    bm_report_add_text(o, "target", disk->target);
    bm_report_add_text(o, "source", bm_report_source_name(disk));
    bm_report_add_text(o, "dest", bm_report_dest_name(disk));
    bm_report_add_bytes(o, "capacity", disk->fixed.capacity);
    bm_report_add_bool(o, "proven", disk->proof.proven);
    bm_report_add_bytes(o, "proof_bytes", disk->proof.bytes);
    bm_report_add_bytes(o, "proof_read", disk->proof.read);
    bm_report_add_bytes(o, "proof_different", disk->proof.different);
    bm_report_add_bytes(o, "repaired", disk->proof.repaired);
    bm_report_add_text(o, "map",
                       bm_report_has_gaps(disk) ? disk->rescue.map : NULL);
    bm_report_add_bytes(o, "unreadable_bytes", disk->rescue.unreadable_bytes);
    bm_report_add_bytes(o, "filled_bytes", disk->rescue.filled_bytes);
    bm_report_add_bytes(o, "unproven_bytes", disk->rescue.unproven_bytes);
    add_gaps(o, disk);
    bm_report_add_text(o, "proof_medium", disk->proof.medium);
    bm_report_add_text(o, "digest_source", disk->proof.digest_source);
    bm_report_add_text(o, "digest_dest", disk->proof.digest_dest);
    bm_report_add_text(
        o, "kept",
        disk->kept && !disk->deleted ? bm_report_source_name(disk) : NULL);
    bm_report_add_bool(o, "deleted", disk->deleted);
    json_object_object_add(o, "layers", layers_json(disk));
    return o;
}

static void add_measures(json_object *o, const struct bm_job *job)
{
    json_object *timings = json_object_new_object();
    json_object *pauses = json_object_new_object();

    bm_report_add_number(timings, "copy_ms", job->result.copy_ms);
    bm_report_add_number(timings, "prove_ms", job->result.prove_ms);
    bm_report_add_number(timings, "total_ms", job->result.total_ms);
    json_object_object_add(o, "timings", timings);
    bm_report_add_number(pauses, "count", job->result.pauses);
    add_ms(pauses, "total_ms", job->result.pause_ms_total);
    add_ms(pauses, "longest_ms", job->result.pause_ms_longest);
    json_object_object_add(o, "pauses", pauses);
}

/* The names of the kept images, for whoever wants nothing else. */
static json_object *kept_json(const struct bm_job *job)
{
    json_object *array = json_object_new_array();

    for (size_t i = 0; i < job->n_disks; i++) {
        const struct bm_job_disk *disk = &job->disks[i];

        if (disk->kept && !disk->deleted)
            json_object_array_add(
                array, json_object_new_string(bm_report_source_name(disk)));
        for (size_t k = 1; k <= disk->n_lower; k++)
            if (disk->lower[k - 1].kept && !disk->lower[k - 1].deleted)
                json_object_array_add(
                    array,
                    json_object_new_string(bm_report_layer_name(disk, k)));
    }
    return array;
}

json_object *bm_report_result(const struct bm_job *job)
{
    json_object *o = bm_report_event("result", job->id);
    json_object *disks = json_object_new_array();

    if (!o || !disks) {
        json_object_put(o);
        json_object_put(disks);
        return NULL;
    }
    bm_report_add_number(o, "exit_status", job->result.exit_status);
    bm_report_add_text(o, "state", bm_state_name(job->state));
    bm_report_add_text(o, "domain", job->domain);
    bm_report_add_text(o, "uuid", job->uuid);
    bm_report_add_text(o, "strategy", bm_strategy_name(job->plan.strategy));
    bm_report_add_text(o, "store", job->store);
    if (bm_report_is_no_move(job))
        bm_report_add_snapshot(o, job);
    bm_report_add_text(o, "error", job->result.error);
    if (job->state == BM_STATE_DONE && job->cancel)
        bm_report_add_bool(o, "too_late_to_cancel", true);
    if (job->request.quiesce)
        bm_report_add_bool(o, "quiesced", job->guest.quiesced);
    for (size_t i = 0; i < job->n_disks; i++)
        json_object_array_add(disks, disk_json(&job->disks[i]));
    if (bm_report_is_no_move(job))
        return json_object_put(disks), add_measures(o, job), o;
    json_object_object_add(o, "disks", disks);
    json_object_object_add(o, "kept", kept_json(job));
    add_measures(o, job);
    return o;
}

json_object *bm_report_job(const struct bm_job *job, bool running)
{
    BM_FREE char *journal = bm_job_to_json(job);
    json_object *o = journal ? json_tokener_parse(journal) : NULL, *disks;

    if (!o)
        return NULL;
    bm_report_add_bool(o, "running", running);
    json_object_object_get_ex(o, "disks", &disks);
    for (size_t i = 0; i < job->n_disks; i++)
        add_gaps(json_object_array_get_idx(disks, i), &job->disks[i]);
    return o;
}
