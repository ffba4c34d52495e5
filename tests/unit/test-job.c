// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A job's journal: what is written is what is read, and nothing else is. */
#include "blockmig/job/job-json.h"
#include "blockmig/job/job-chain.h"

#include "nbd/base/cleanup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

TestSuite(job);

static void add_layer(struct bm_chain *chain, const char *path, int index)
{
    cr_assert_eq(bm_chain_append(chain, BM_SOURCE_FILE, path, "qcow2"), 0);
    chain->layers[chain->n - 1].index = index;
}

static void fill_disk(struct bm_job_disk *disk)
{
    disk->target = strdup("vda");
    add_layer(&disk->source, "/a/top.qcow2", 1);
    add_layer(&disk->source, "/a/base.qcow2", 2);
    disk->source.layers[1].encrypted = true;
    disk->source.layers[1].sliced = true;
    disk->source.layers[1].slice = 512;
    disk->source.complete = true;
    add_layer(&disk->dest, "/b/top.qcow2", 0);
    add_layer(&disk->dest, "/b/base.qcow2", 0);
    disk->below = 1;
    bm_job_fill_disk(disk)->shared = strdup("somebody");
    bm_job_fill_disk(disk)->create = strdup("cluster_size=512");
    bm_job_fill_disk(disk)->relative = true;
    disk->n_lower = 1;
    disk->lower = calloc(1, sizeof *disk->lower);
    disk->lower[0] = (struct bm_job_layer){.size = 1,
                                           .source_dev = 2,
                                           .source_ino = 3,
                                           .dest_dev = 4,
                                           .dest_ino = UINT64_MAX - 3,
                                           .create = strdup("compat=1.1"),
                                           .relative = true,
                                           .make_sent = true,
                                           .image_ns = INT64_MIN,
                                           .kept = true,
                                           .deleted = true};
    bm_job_fill_disk(disk)->capacity = 1ULL << 40;
    bm_job_fill_disk(disk)->dest_block = disk->image.copy_sent =
        disk->proof.proven = true;
    disk->kept = disk->deleted = disk->flushed = disk->overlays.freeze_seen =
        true;
    disk->overlays.source_seen = 2;
    disk->overlays.below_ns = INT64_MIN;
    bm_job_fill_disk(disk)->source_ino = UINT64_MAX - 2;
    disk->image.dev = 1ULL << 63;
    disk->image.ino = UINT64_MAX - 1;
    bm_job_fill_disk(disk)->switch_overlay = strdup("/b/o");
    bm_job_fill_disk(disk)->rollback_overlay = strdup("/a/o");
    disk->rescue.map = strdup("/s/1-vda.map");
    disk->rescue.unreadable_bytes = 7;
    disk->rescue.filled_bytes = 8;
    disk->rescue.unproven_bytes = 9;
    disk->proof.bytes = 4;
    disk->proof.read = 5;
    disk->proof.different = 6;
    strcpy(disk->proof.medium, "medium");
    memset(disk->proof.digest_source, 'a', 64);
    memset(disk->proof.digest_dest, 'b', 64);
}

static struct bm_job_snapshot *full_snapshot(void)
{
    struct bm_job_snapshot *snapshot = bm_job_snapshot_new("delete");
    struct bm_job_merge *merge = bm_job_snapshot_add_merge(snapshot);

    snapshot->proof = BM_PROOF_FULL;
    snapshot->name = strdup("s1");
    snapshot->description = strdup("a \"point\"");
    snapshot->memory = strdup("/a/mem");
    snapshot->xml = strdup("<domain/>");
    snapshot->xml_after = strdup("<domain id='1'/>");
    snapshot->branch = strdup("before-s1");
    snapshot->socket = strdup("/s/1.view");
    snapshot->group = snapshot->start = true;
    merge->target = strdup("vda");
    add_layer(&merge->layers, "/a/s2.qcow2", 0);
    add_layer(&merge->layers, "/a/s1.qcow2", 0);
    add_layer(&merge->children, "/a/s3.qcow2", 0);
    merge->held = UINT64_MAX - 5;
    merge->begun = merge->merged = merge->proven = merge->done = true;
    merge->proof_bytes = 11;
    memset(merge->digest, 'c', 64);
    strcpy(merge->proof_medium, "medium");
    cr_assert_eq(bm_job_snapshot_add_point(snapshot, "s1", "/a/mem"), 0);
    snapshot->points[0].gone = true;
    return snapshot;
}

/* Every field has a value that a forgotten one would not have. */
static struct bm_job *full_job(void)
{
    struct bm_job *job = bm_job_new();

    cr_assert_not_null(job);
    strcpy(job->uuid, "11111111-2222-3333-4444-555555555555");
    job->domain = strdup("vm \"1\"\n\xc3\xa4/\xff");
    job->uri = strdup("qemu:///session");
    job->host = strdup("host");
    job->store = strdup("/a/b");
    bm_job_fill_plan(job)->strategy = BM_STRATEGY_COLD;
    bm_job_set_state(job, BM_STATE_NEEDS_RECOVERY);
    job->from = BM_STATE_PROVING_REST;
    job->result.ended_ms = 3;
    bm_job_fill_request(job)->proof = bm_job_fill_request(job)->source_delete =
        bm_job_fill_request(job)->force = true;
    bm_job_fill_request(job)->drop_checkpoints = job->staged.carried = true;
    job->limits.bandwidth = UINT64_MAX;
    job->limits.max_pause_ms = 60000;
    bm_job_fill_request(job)->format = strdup("keep");
    bm_job_fill_plan(job)->chain = strdup("all");
    bm_job_fill_request(job)->rescue = true;
    bm_job_fill_request(job)->fill_from = strdup("/c/copy.raw");
    bm_job_fill_request(job)->overlay_max = 1ULL << 41;
    job->staged.overlays_asked = 3;
    bm_job_fill_plan(job)->on_target = job->guest.ballast =
        job->guest.space_paused = job->guest.top_asked = true;
    job->guest.pivot_asked = true;
    bm_job_fill_plan(job)->place_why = strdup("the source is full");
    job->result.pauses = 2;
    job->result.pause_ms_total = 0.1 + 0.2;
    job->result.pause_ms_longest = 1e300;
    job->result.copy_ms = INT64_MAX;
    job->result.prove_ms = INT64_MIN;
    job->result.total_ms = 7;
    job->guest.window_paused = job->guest.unclean =
        bm_job_fill_plan(job)->was_active = job->cancel = true;
    job->paused = bm_job_fill_request(job)->quiesce = job->guest.fs_frozen =
        job->guest.quiesced = true;
    job->result.exit_status = 6;
    job->n_disks = 2;
    job->disks = calloc(2, sizeof *job->disks);
    fill_disk(&job->disks[0]);
    job->disks[1].target = strdup("vdb");
    return job;
}

Test(job, names)
{
    for (int i = 0; i < BM_STATE_COUNT; i++) {
        enum bm_state state = BM_STATE_DONE;
        const char *name = bm_state_name((enum bm_state)i);

        cr_assert_not_null(name);
        cr_assert_eq(bm_state_from_name(name, &state), 0);
        cr_assert_eq((int)state, i);
    }
    cr_assert_eq(bm_state_from_name("", &(enum bm_state){0}), -EINVAL);
    cr_assert_eq(bm_state_from_name("Done", &(enum bm_state){0}), -EINVAL);
    cr_assert_str_eq(bm_state_name((enum bm_state)99), "unknown");
    cr_assert(bm_state_final(BM_STATE_DONE));
    cr_assert(bm_state_final(BM_STATE_ROLLED_BACK));
    cr_assert_not(bm_state_final(BM_STATE_HELD));
    cr_assert_not(bm_state_final(BM_STATE_NEEDS_RECOVERY));
}

Test(job, a_merge_without_its_snapshot_is_refused)
{
    struct bm_job *job = full_job(), *back = NULL;
    struct bm_error err = BM_ERROR_INIT;
    BM_FREE char *text = NULL;

    bm_job_fill_plan(job)->strategy = BM_STRATEGY_MERGE;
    text = bm_job_to_json(job);
    cr_assert_eq(bm_job_from_json(text, &back, &err), -EBADMSG);
    bm_job_free(job);
}

Test(job, fresh_id)
{
    struct bm_job *a = bm_job_new(), *b = bm_job_new();

    cr_assert(bm_job_id_valid(a->id));
    cr_assert_str_neq(a->id, b->id);
    cr_assert_not(bm_job_id_valid("../../ab"));
    cr_assert_not(bm_job_id_valid("1234567"));
    cr_assert_not(bm_job_id_valid("123456789"));
    cr_assert_not(bm_job_id_valid("ABCDEF01"));
    bm_job_free(a);
    bm_job_free(b);
    bm_job_free(NULL);
}

Test(job, round_trip)
{
    struct bm_job *job = full_job(), *back = NULL;
    struct bm_error err = BM_ERROR_INIT;
    BM_FREE char *text = bm_job_to_json(job);
    BM_FREE char *again = NULL;
    const struct bm_job_disk *disk;

    cr_assert_not_null(text);
    cr_assert_eq(bm_job_from_json(text, &back, &err), 0, "%s", err.cause);
    again = bm_job_to_json(back);
    cr_assert_str_eq(text, again);
    cr_assert_str_eq(back->domain, job->domain);
    cr_assert_eq(back->limits.bandwidth, UINT64_MAX);
    cr_assert_eq(back->result.prove_ms, INT64_MIN);
    cr_assert_eq(back->result.pause_ms_total, job->result.pause_ms_total);
    cr_assert_eq(back->from, BM_STATE_PROVING_REST);
    cr_assert_eq(back->request.overlay_max, 1ULL << 41);
    cr_assert(back->plan.on_target && back->guest.ballast &&
              back->guest.space_paused);
    cr_assert_str_eq(back->plan.place_why, "the source is full");
    cr_assert_null(back->result.error);
    cr_assert_eq(back->n_disks, 2);
    disk = &back->disks[0];
    cr_assert(bm_chain_equal(&disk->source, &job->disks[0].source));
    cr_assert(disk->source.complete);
    cr_assert_eq(disk->source.layers[1].index, 2);
    cr_assert(disk->source.layers[1].encrypted);
    cr_assert(disk->source.layers[1].sliced);
    cr_assert_eq(disk->source.layers[1].slice, 512);
    cr_assert_not(disk->source.layers[0].encrypted);
    cr_assert_eq(disk->fixed.source_ino, UINT64_MAX - 2);
    cr_assert_eq(disk->image.ino, UINT64_MAX - 1);
    cr_assert_eq(disk->n_lower, 1);
    cr_assert_eq(disk->lower[0].dest_ino, UINT64_MAX - 3);
    cr_assert_str_eq(disk->lower[0].create, "compat=1.1");
    cr_assert_str_eq(bm_job_new_image(disk)->path, "/b/top.qcow2");
    cr_assert_str_eq(bm_job_old(disk, 1)->path, "/a/base.qcow2");
    cr_assert(bm_job_chain_kept(disk));
    cr_assert_not(bm_job_has_mirror_overlay(disk));
    cr_assert_not(bm_job_keeps(disk));
    cr_assert_null(back->disks[1].fixed.switch_overlay);
    bm_job_free(job);
    bm_job_free(back);
}

Test(job, a_snapshot_command_is_read_as_written)
{
    struct bm_job *job = full_job(), *back = NULL;
    struct bm_error err = BM_ERROR_INIT;
    BM_FREE char *text = NULL;
    BM_FREE char *again = NULL;

    bm_job_fill_plan(job)->strategy = BM_STRATEGY_MERGE;
    job->snapshot = full_snapshot();
    text = bm_job_to_json(job);
    cr_assert_eq(bm_job_from_json(text, &back, &err), 0, "%s", err.cause);
    again = bm_job_to_json(back);
    cr_assert_str_eq(text, again);
    cr_assert_str_eq(bm_merge_base(&back->snapshot->merges[0])->path,
                     "/a/s1.qcow2");
    cr_assert_eq(bm_merge_goes(&back->snapshot->merges[0]), 1);
    cr_assert(bm_job_snapshot_has_point(back->snapshot, "s1"));
    cr_assert_str_eq(bm_job_noun(back), "merge");
    bm_job_free(job);
    bm_job_free(back);
}

/* Reads text, which must fail with a cause that names the field. */
static void refused(const char *text, const char *field)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_job *job = NULL;

    cr_assert_eq(bm_job_from_json(text, &job, &err), -EBADMSG, "%s", field);
    cr_assert_null(job);
    cr_assert_not_null(strstr(err.cause, field), "'%s' does not name '%s'",
                       err.cause, field);
}

/* Removes, then mistypes, each field of object; root is the whole. */
static void spoil_each(json_object *root, json_object *object)
{
    const char *names[64];
    size_t n = 0;

    json_object_object_foreach(object, key, value)
    {
        (void)value;
        names[n++] = strdup(key);
    }
    for (size_t i = 0; i < n; i++) {
        json_object *saved =
            json_object_get(json_object_object_get(object, names[i]));
        json_object *wrong = json_object_new_array();

        if (json_object_is_type(saved, json_type_array)) {
            json_object_put(wrong);
            wrong = json_object_new_string("no");
        }
        json_object_object_del(object, names[i]);
        refused(json_object_to_json_string(root), names[i]);
        json_object_object_add(object, names[i], wrong);
        refused(json_object_to_json_string(root), names[i]);
        json_object_object_add(object, names[i], saved);
        free((char *)names[i]);
    }
}

static json_object *at(json_object *object, const char *name, size_t i)
{
    json_object *value = json_object_object_get(object, name);

    return json_object_is_type(value, json_type_array)
               ? json_object_array_get_idx(value, i)
               : value;
}

Test(job, each_field_is_needed)
{
    struct bm_job *job = full_job();
    BM_FREE char *text = bm_job_to_json(job);
    json_object *root = json_tokener_parse(text);
    json_object *disk = at(root, "disks", 0), *source = at(disk, "source", 0);

    cr_assert_not_null(root);
    spoil_each(root, root);
    spoil_each(root, disk);
    spoil_each(root, source);
    spoil_each(root, at(source, "layers", 1));
    json_object_put(root);
    bm_job_free(job);
}

/* The document with one value replaced. */
static void refused_with(const char *field, json_object *value)
{
    struct bm_job *job = full_job();
    BM_FREE char *text = bm_job_to_json(job);
    json_object *root = json_tokener_parse(text);

    json_object_object_add(root, field, value);
    refused(json_object_to_json_string(root), field);
    json_object_put(root);
    bm_job_free(job);
}

Test(job, values_out_of_range)
{
    refused_with("bandwidth", json_object_new_int64(-1));
    refused_with("pauses", json_object_new_int64(1LL << 31));
    refused_with("max_pause_ms", json_object_new_double(1.5));
    refused_with("state", json_object_new_string("asleep"));
    refused_with("strategy", json_object_new_string("Cold"));
    refused_with("domain", NULL);
    refused_with("id", json_object_new_string("../../etc"));
    refused_with("id", json_object_new_string("ABCDEF01"));
    refused_with("uuid", json_object_new_string(
                             "11111111-2222-3333-4444-5555555555556"));
}

Test(job, not_json)
{
    refused("", "JSON");
    refused("[]", "JSON");
    refused("null", "JSON");
    refused("{", "JSON");
    refused("{} x", "JSON");
    refused("{}{}", "JSON");
    refused("{}", "id");
}
