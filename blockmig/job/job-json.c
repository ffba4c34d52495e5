// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job-json.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

// clang-format off
/* The name is a word of the format (job-format.h); the member's may change. */
#define FIELD_AS(type, kind_, member, name_)                                   \
    {.name = name_, .kind = BM_FIELD_##kind_,                                  \
     .offset = offsetof(struct type, member),                                  \
     .size = sizeof((struct type *)NULL)->member}
#define FIELD(type, kind, member) FIELD_AS(type, kind, member, #member)
// clang-format on
#define END                                                                    \
    {                                                                          \
        .name = NULL                                                           \
    }

const struct bm_field bm_job_fields[] = {
    FIELD(bm_job, ARRAY, id),
    FIELD(bm_job, ARRAY, uuid),
    FIELD(bm_job, NAME, domain),
    FIELD(bm_job, TEXT, uri),
    FIELD(bm_job, TEXT, host),
    FIELD(bm_job, TEXT, store),
    FIELD_AS(bm_job, STRATEGY, plan.strategy, "strategy"),
    FIELD_AS(bm_job, TEXT, plan.why, "why"),
    FIELD(bm_job, STATE, state),
    FIELD(bm_job, I64, created_ms),
    FIELD(bm_job, I64, updated_ms),
    FIELD_AS(bm_job, I64, result.ended_ms, "ended_ms"),
    FIELD_AS(bm_job, BOOL, request.proof, "proof"),
    FIELD_AS(bm_job, BOOL, request.source_delete, "source_delete"),
    FIELD_AS(bm_job, BOOL, request.force, "force"),
    FIELD_AS(bm_job, BOOL, request.quiesce, "quiesce"),
    FIELD_AS(bm_job, BOOL, request.drop_checkpoints, "drop_checkpoints"),
    FIELD_AS(bm_job, U64, limits.bandwidth, "bandwidth"),
    FIELD_AS(bm_job, REAL, limits.guest_latency, "guest_latency"),
    FIELD_AS(bm_job, INT, limits.max_pause_ms, "max_pause_ms"),
    FIELD_AS(bm_job, I64, limits.settle_ms, "settle_ms"),
    FIELD(bm_job, I64, settled_ms),
    FIELD_AS(bm_job, U64, limits.switch_max, "switch_max"),
    FIELD_AS(bm_job, U64, request.overlay_max, "overlay_max"),
    FIELD_AS(bm_job, TEXT, request.format, "format"),
    FIELD_AS(bm_job, TEXT, plan.chain, "chain"),
    FIELD_AS(bm_job, BOOL, request.rescue, "rescue"),
    FIELD_AS(bm_job, TEXT, request.fill_from, "fill_from"),
    FIELD_AS(bm_job, INT, staged.overlays_sent, "fronts_sent"),
    FIELD_AS(bm_job, INT, staged.overlays_asked, "fronts_asked"),
    FIELD_AS(bm_job, INT, staged.rounds, "rounds"),
    FIELD_AS(bm_job, BOOL, staged.off, "off"),
    FIELD_AS(bm_job, BOOL, staged.carried, "carried"),
    FIELD_AS(bm_job, BOOL, plan.on_target, "on_target"),
    FIELD_AS(bm_job, TEXT, plan.place_why, "place_why"),
    FIELD_AS(bm_job, BOOL, guest.pivot_asked, "pivot_asked"),
    FIELD_AS(bm_job, BOOL, guest.top_asked, "top_asked"),
    FIELD_AS(bm_job, BOOL, guest.ballast, "ballast"),
    FIELD_AS(bm_job, BOOL, guest.space_paused, "room_paused"),
    FIELD_AS(bm_job, INT, result.pauses, "pauses"),
    FIELD_AS(bm_job, REAL, result.pause_ms_total, "pause_ms_total"),
    FIELD_AS(bm_job, REAL, result.pause_ms_longest, "pause_ms_longest"),
    FIELD_AS(bm_job, I64, result.copy_ms, "copy_ms"),
    FIELD_AS(bm_job, I64, result.prove_ms, "prove_ms"),
    FIELD_AS(bm_job, I64, result.total_ms, "total_ms"),
    FIELD_AS(bm_job, BOOL, guest.window_paused, "window_paused"),
    FIELD_AS(bm_job, BOOL, guest.fs_frozen, "fs_frozen"),
    FIELD_AS(bm_job, BOOL, guest.quiesced, "quiesced"),
    FIELD_AS(bm_job, BOOL, guest.unclean, "unclean"),
    FIELD_AS(bm_job, BOOL, guest.doubt, "doubt"),
    FIELD(bm_job, STATE, from),
    FIELD_AS(bm_job, BOOL, plan.was_active, "was_active"),
    FIELD(bm_job, BOOL, cancel),
    FIELD(bm_job, BOOL, paused),
    FIELD_AS(bm_job, INT, result.exit_status, "exit_status"),
    FIELD_AS(bm_job, TEXT, result.error, "error"),
    END,
};

const struct bm_field bm_disk_fields[] = {
    FIELD(bm_job_disk, NAME, target),
    FIELD_AS(bm_job_disk, U64, fixed.source_dev, "source_dev"),
    FIELD_AS(bm_job_disk, U64, fixed.source_ino, "source_ino"),
    FIELD_AS(bm_job_disk, U64, fixed.capacity, "capacity"),
    FIELD(bm_job_disk, INT, below),
    FIELD_AS(bm_job_disk, TEXT, fixed.shared, "shared"),
    FIELD_AS(bm_job_disk, TEXT, fixed.create, "create"),
    FIELD_AS(bm_job_disk, BOOL, fixed.relative, "relative"),
    FIELD_AS(bm_job_disk, BOOL, fixed.dest_block, "dest_block"),
    FIELD_AS(bm_job_disk, U64, image.dev, "dest_dev"),
    FIELD_AS(bm_job_disk, U64, image.ino, "dest_ino"),
    FIELD_AS(bm_job_disk, TEXT, fixed.switch_overlay, "overlay"),
    FIELD_AS(bm_job_disk, TEXT, fixed.rollback_overlay, "back"),
    FIELD_AS(bm_job_disk, TEXT, fixed.source_overlay_dir, "front_dir"),
    FIELD_AS(bm_job_disk, INT, overlays.n_source, "fronts"),
    FIELD_AS(bm_job_disk, INT, overlays.source_seen, "front_seen"),
    FIELD_AS(bm_job_disk, TEXT, fixed.mirror_overlay, "bridge"),
    FIELD_AS(bm_job_disk, I64, image.image_ns, "image_ns"),
    FIELD_AS(bm_job_disk, I64, overlays.below_ns, "below_ns"),
    FIELD(bm_job_disk, I64, source_ns),
    FIELD_AS(bm_job_disk, I64, image.changed_ns, "changed_ns"),
    FIELD_AS(bm_job_disk, U64, proof.repaired, "repaired"),
    FIELD_AS(bm_job_disk, BOOL, overlays.merge_proven, "merge_proven"),
    FIELD_AS(bm_job_disk, BOOL, overlays.freeze_seen, "top_seen"),
    FIELD(bm_job_disk, BOOL, flushed),
    FIELD_AS(bm_job_disk, TEXT, rescue.map, "map"),
    FIELD_AS(bm_job_disk, U64, rescue.unreadable_bytes, "unreadable_bytes"),
    FIELD_AS(bm_job_disk, U64, rescue.filled_bytes, "filled_bytes"),
    FIELD_AS(bm_job_disk, U64, rescue.unproven_bytes, "unproven_bytes"),
    FIELD_AS(bm_job_disk, BOOL, image.make_sent, "make_sent"),
    FIELD_AS(bm_job_disk, BOOL, image.copy_sent, "copy_sent"),
    FIELD_AS(bm_job_disk, BOOL, proof.proven, "proven"),
    FIELD_AS(bm_job_disk, U64, proof.bytes, "proof_bytes"),
    FIELD_AS(bm_job_disk, U64, proof.read, "proof_read"),
    FIELD_AS(bm_job_disk, U64, proof.different, "proof_different"),
    FIELD_AS(bm_job_disk, ARRAY, proof.medium, "proof_medium"),
    FIELD_AS(bm_job_disk, ARRAY, proof.digest_source, "digest_source"),
    FIELD_AS(bm_job_disk, ARRAY, proof.digest_dest, "digest_dest"),
    FIELD(bm_job_disk, BOOL, kept),
    FIELD(bm_job_disk, BOOL, deleted),
    END,
};

const struct bm_field bm_lower_fields[] = {
    FIELD(bm_job_layer, U64, size),
    FIELD(bm_job_layer, U64, source_dev),
    FIELD(bm_job_layer, U64, source_ino),
    FIELD(bm_job_layer, U64, dest_dev),
    FIELD(bm_job_layer, U64, dest_ino),
    FIELD(bm_job_layer, TEXT, create),
    FIELD(bm_job_layer, BOOL, relative),
    FIELD(bm_job_layer, BOOL, make_sent),
    FIELD(bm_job_layer, I64, image_ns),
    FIELD(bm_job_layer, I64, changed_ns),
    FIELD(bm_job_layer, BOOL, kept),
    FIELD(bm_job_layer, BOOL, deleted),
    END,
};

const struct bm_field bm_chain_fields[] = {
    FIELD(bm_chain, BOOL, complete),
    END,
};

const struct bm_field bm_layer_fields[] = {
    FIELD(bm_layer, SOURCE, type),
    FIELD(bm_layer, TEXT, path),
    FIELD(bm_layer, TEXT, format),
    FIELD(bm_layer, INT, index),
    FIELD(bm_layer, BOOL, encrypted),
    FIELD(bm_layer, BOOL, sliced),
    FIELD(bm_layer, U64, slice),
    FIELD(bm_layer, U64, id),
    END,
};

const struct bm_field bm_snapshot_fields[] = {
    FIELD(bm_job_snapshot, NAME, verb),
    FIELD(bm_job_snapshot, TEXT, name),
    FIELD(bm_job_snapshot, TEXT, description),
    FIELD(bm_job_snapshot, TEXT, memory),
    FIELD(bm_job_snapshot, TEXT, xml),
    FIELD(bm_job_snapshot, TEXT, xml_after),
    FIELD(bm_job_snapshot, TEXT, branch),
    FIELD(bm_job_snapshot, TEXT, socket),
    FIELD(bm_job_snapshot, BOOL, group),
    FIELD(bm_job_snapshot, BOOL, start),
    FIELD(bm_job_snapshot, PROOF, proof),
    END,
};

const struct bm_field bm_merge_fields[] = {
    FIELD(bm_job_merge, NAME, target),
    FIELD(bm_job_merge, U64, held),
    FIELD(bm_job_merge, BOOL, begun),
    FIELD(bm_job_merge, BOOL, merged),
    FIELD(bm_job_merge, TEXT, stamp),
    FIELD(bm_job_merge, BOOL, proven),
    FIELD(bm_job_merge, BOOL, done),
    FIELD(bm_job_merge, U64, base_ino),
    FIELD(bm_job_merge, U64, base_size),
    FIELD(bm_job_merge, U64, proof_bytes),
    FIELD(bm_job_merge, ARRAY, digest),
    FIELD(bm_job_merge, ARRAY, proof_medium),
    END,
};

const struct bm_field bm_job_point_fields[] = {
    FIELD(bm_job_point, NAME, name),
    FIELD(bm_job_point, TEXT, memory),
    FIELD(bm_job_point, BOOL, gone),
    END,
};

/* Adds value (NULL is JSON's null only when null_ok); 0 or -ENOMEM. */
static int add(json_object *object, const char *name, json_object *value,
               bool null_ok)
{
    if (!value && !null_ok)
        return -ENOMEM;
    if (json_object_object_add(object, name, value) == 0)
        return 0;
    json_object_put(value);
    return -ENOMEM;
}

static json_object *field_value(const struct bm_field *f, const void *at)
{
    switch (f->kind) {
    case BM_FIELD_TEXT:
    case BM_FIELD_NAME:
        return *(char *const *)at ? json_object_new_string(*(char *const *)at)
                                  : NULL;
    case BM_FIELD_ARRAY:
        return json_object_new_string(at);
    case BM_FIELD_BOOL:
        return json_object_new_boolean(*(const bool *)at);
    case BM_FIELD_U64:
        return json_object_new_uint64(*(const uint64_t *)at);
    case BM_FIELD_I64:
        return json_object_new_int64(*(const int64_t *)at);
    case BM_FIELD_INT:
        return json_object_new_int(*(const int *)at);
    case BM_FIELD_REAL:
        return json_object_new_double(*(const double *)at);
    case BM_FIELD_STATE:
        return json_object_new_string(
            bm_state_name(*(const enum bm_state *)at));
    case BM_FIELD_STRATEGY:
        return json_object_new_string(
            bm_strategy_name(*(const enum bm_strategy *)at));
    case BM_FIELD_SOURCE:
        return json_object_new_string(
            bm_source_type_name(*(const enum bm_source_type *)at));
    case BM_FIELD_PROOF:
        return json_object_new_string(
            bm_merge_proof_name(*(const enum bm_merge_proof *)at));
    }
    return NULL;
}

static int write_fields(json_object *object, const struct bm_field *fields,
                        const void *base)
{
    for (const struct bm_field *f = fields; f->name; f++) {
        const void *at = (const char *)base + f->offset;
        bool null_ok = (f->kind == BM_FIELD_TEXT || f->kind == BM_FIELD_NAME) &&
                       *(char *const *)at == NULL;
        int rc = add(object, f->name, field_value(f, at), null_ok);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static int append(json_object *array, json_object *value)
{
    if (json_object_array_add(array, value) == 0)
        return 0;
    json_object_put(value);
    return -ENOMEM;
}

static int write_layers(json_object *array, const struct bm_chain *chain)
{
    for (size_t i = 0; i < chain->n; i++) {
        json_object *layer = json_object_new_object();

        if (!layer || append(array, layer) < 0 ||
            write_fields(layer, bm_layer_fields, &chain->layers[i]) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int write_chain(json_object *disk, const char *name,
                       const struct bm_chain *chain)
{
    json_object *object = json_object_new_object(), *layers;

    if (add(disk, name, object, false) < 0)
        return -ENOMEM;
    layers = json_object_new_array();
    if (add(object, "layers", layers, false) < 0 ||
        write_fields(object, bm_chain_fields, chain) < 0)
        return -ENOMEM;
    return write_layers(layers, chain);
}

static int write_lower(json_object *disk, const struct bm_job_disk *from)
{
    json_object *array = json_object_new_array();

    if (add(disk, "lower", array, false) < 0)
        return -ENOMEM;
    for (size_t k = 0; k < from->n_lower; k++) {
        json_object *layer = json_object_new_object();

        if (!layer || append(array, layer) < 0 ||
            write_fields(layer, bm_lower_fields, &from->lower[k]) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int write_disks(json_object *array, const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++) {
        const struct bm_job_disk *disk = &job->disks[i];
        json_object *object = json_object_new_object();

        if (!object || append(array, object) < 0 ||
            write_fields(object, bm_disk_fields, disk) < 0 ||
            write_chain(object, "source", &disk->source) < 0 ||
            write_chain(object, "dest", &disk->dest) < 0 ||
            write_lower(object, disk) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* A fresh object at the end of the array, with these fields; NULL: out of
 * memory. */
static json_object *append_fields(json_object *array,
                                  const struct bm_field *fields,
                                  const void *base)
{
    json_object *object = json_object_new_object();

    if (!object || append(array, object) < 0 ||
        write_fields(object, fields, base) < 0)
        return NULL;
    return object;
}

static int write_snapshot(json_object *root,
                          const struct bm_job_snapshot *snapshot)
{
    json_object *object = json_object_new_object(), *merges, *points;

    if (add(root, "snapshot", object, false) < 0)
        return -ENOMEM;
    merges = json_object_new_array();
    points = json_object_new_array();
    if (add(object, "merges", merges, false) < 0 ||
        add(object, "points", points, false) < 0 ||
        write_fields(object, bm_snapshot_fields, snapshot) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < snapshot->n_merges; i++) {
        const struct bm_job_merge *merge = &snapshot->merges[i];
        json_object *o = append_fields(merges, bm_merge_fields, merge);

        if (!o || write_chain(o, "layers", &merge->layers) < 0 ||
            write_chain(o, "children", &merge->children) < 0)
            return -ENOMEM;
    }
    for (size_t i = 0; i < snapshot->n_points; i++)
        if (!append_fields(points, bm_job_point_fields, &snapshot->points[i]))
            return -ENOMEM;
    return 0;
}

char *bm_json_text(json_object *root)
{
    const char *text = json_object_to_json_string_ext(
        root, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

    return text ? strdup(text) : NULL;
}

char *bm_job_to_json(const struct bm_job *job)
{
    BM_JSON json_object *root = json_object_new_object();
    json_object *disks = json_object_new_array();

    if (!root) {
        json_object_put(disks);
        return NULL;
    }
    if (add(root, "disks", disks, false) < 0 ||
        write_fields(root, bm_job_fields, job) < 0 ||
        write_disks(disks, job) < 0 ||
        (job->snapshot && write_snapshot(root, job->snapshot) < 0))
        return NULL;
    return bm_json_text(root);
}
