// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job-json.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int bad(struct bm_error *err, const char *where, const char *name,
               const char *problem)
{
    bm_fail(err, EBADMSG, "cannot read a job's journal");
    bm_cause(err, "field %s%s %s", where, name, problem);
    return -EBADMSG;
}

static int no_memory(struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot read a job's journal");
}

/* The member of that name and type; null has type null. */
static int member(json_object *object, const char *where, const char *name,
                  json_type type, json_object **out, struct bm_error *err)
{
    if (!json_object_object_get_ex(object, name, out))
        return bad(err, where, name, "is missing");
    if (!json_object_is_type(*out, type))
        return bad(err, where, name, "has a wrong type");
    return 0;
}

static int read_text(const struct bm_field *f, json_object *value, void *at,
                     const char *where, struct bm_error *err)
{
    if (!value && f->kind == BM_FIELD_TEXT)
        return 0;
    if (!json_object_is_type(value, json_type_string))
        return bad(err, where, f->name, "is not a string");
    *(char **)at = strdup(json_object_get_string(value));
    return *(char **)at ? 0 : no_memory(err);
}

static int read_array(const struct bm_field *f, json_object *value, void *at,
                      const char *where, struct bm_error *err)
{
    if (!json_object_is_type(value, json_type_string))
        return bad(err, where, f->name, "is not a string");
    if (strlen(json_object_get_string(value)) >= f->size)
        return bad(err, where, f->name, "is too long");
    strcpy(at, json_object_get_string(value));
    return 0;
}

/* json-c saturates on reading: a number past the end reads as the end, and
 * uint64 beyond INT64_MAX is kept as such, so compare before narrowing. */
static int read_number(const struct bm_field *f, json_object *value, void *at,
                       const char *where, struct bm_error *err)
{
    int64_t number;

    if (!json_object_is_type(value, json_type_int))
        return bad(err, where, f->name, "is not a whole number");
    number = json_object_get_int64(value);
    if (f->kind == BM_FIELD_U64) {
        if (number < 0)
            return bad(err, where, f->name, "is negative");
        *(uint64_t *)at = json_object_get_uint64(value);
    } else if (f->kind == BM_FIELD_I64) {
        *(int64_t *)at = number;
    } else {
        if (number < INT_MIN || number > INT_MAX)
            return bad(err, where, f->name, "is out of range");
        *(int *)at = (int)number;
    }
    return 0;
}

static int read_real(const struct bm_field *f, json_object *value, void *at,
                     const char *where, struct bm_error *err)
{
    if (!json_object_is_type(value, json_type_double) &&
        !json_object_is_type(value, json_type_int))
        return bad(err, where, f->name, "is not a number");
    *(double *)at = json_object_get_double(value);
    return isfinite(*(double *)at) ? 0
                                   : bad(err, where, f->name, "is not finite");
}

static int source_type(const char *name, enum bm_source_type *out)
{
    for (int i = BM_SOURCE_NONE; i <= BM_SOURCE_OTHER; i++) {
        if (strcmp(name, bm_source_type_name((enum bm_source_type)i)) == 0) {
            *out = (enum bm_source_type)i;
            return 0;
        }
    }
    return -EINVAL;
}

static int strategy_from_name(const char *name, enum bm_strategy *out)
{
    for (int i = 0; i < BM_STRATEGY_COUNT; i++) {
        if (strcmp(name, bm_strategy_name((enum bm_strategy)i)) == 0) {
            *out = (enum bm_strategy)i;
            return 0;
        }
    }
    return -EINVAL;
}

static int proof_from_name(const char *name, enum bm_merge_proof *out)
{
    for (int i = BM_PROOF_NONE; i <= BM_PROOF_FULL; i++) {
        if (strcmp(name, bm_merge_proof_name((enum bm_merge_proof)i)) == 0) {
            *out = (enum bm_merge_proof)i;
            return 0;
        }
    }
    return -EINVAL;
}

static int read_word(const struct bm_field *f, json_object *value, void *at,
                     const char *where, struct bm_error *err)
{
    const char *word;
    int rc;

    if (!json_object_is_type(value, json_type_string))
        return bad(err, where, f->name, "is not a string");
    word = json_object_get_string(value);
    if (f->kind == BM_FIELD_STATE)
        rc = bm_state_from_name(word, at);
    else if (f->kind == BM_FIELD_STRATEGY)
        rc = strategy_from_name(word, at);
    else if (f->kind == BM_FIELD_PROOF)
        rc = proof_from_name(word, at);
    else
        rc = source_type(word, at);
    return rc < 0 ? bad(err, where, f->name, "is not a known word") : 0;
}

static int read_field(const struct bm_field *f, json_object *value, void *at,
                      const char *where, struct bm_error *err)
{
    switch (f->kind) {
    case BM_FIELD_TEXT:
    case BM_FIELD_NAME:
        return read_text(f, value, at, where, err);
    case BM_FIELD_ARRAY:
        return read_array(f, value, at, where, err);
    case BM_FIELD_U64:
    case BM_FIELD_I64:
    case BM_FIELD_INT:
        return read_number(f, value, at, where, err);
    case BM_FIELD_REAL:
        return read_real(f, value, at, where, err);
    case BM_FIELD_STATE:
    case BM_FIELD_STRATEGY:
    case BM_FIELD_SOURCE:
    case BM_FIELD_PROOF:
        return read_word(f, value, at, where, err);
    case BM_FIELD_BOOL:
        break;
    }
    if (!json_object_is_type(value, json_type_boolean))
        return bad(err, where, f->name, "is not true or false");
    *(bool *)at = json_object_get_boolean(value);
    return 0;
}

static int read_fields(json_object *object, const struct bm_field *fields,
                       void *base, const char *where, struct bm_error *err)
{
    json_object *value;

    for (const struct bm_field *f = fields; f->name; f++) {
        int rc;

        if (!json_object_object_get_ex(object, f->name, &value))
            return bad(err, where, f->name, "is missing");
        rc = read_field(f, value, (char *)base + f->offset, where, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int read_chain(json_object *disk, const char *disk_where,
                      const char *name, struct bm_chain *chain,
                      struct bm_error *err)
{
    json_object *object, *array;
    char where[96];
    size_t n;
    int rc = member(disk, disk_where, name, json_type_object, &object, err);

    if (rc < 0)
        return rc;
    snprintf(where, sizeof where, "%s%s.", disk_where, name);
    rc = read_fields(object, bm_chain_fields, chain, where, err);
    if (rc == 0)
        rc = member(object, where, "layers", json_type_array, &array, err);
    if (rc < 0)
        return rc;
    n = json_object_array_length(array);
    chain->layers = calloc(n ? n : 1, sizeof *chain->layers);
    if (!chain->layers)
        return no_memory(err);
    for (chain->n = 0; chain->n < n && rc == 0;) {
        struct bm_layer *layer = &chain->layers[chain->n];

        snprintf(where, sizeof where, "%s%s.layers[%zu].", disk_where, name,
                 chain->n);
        rc = read_fields(json_object_array_get_idx(array, chain->n++),
                         bm_layer_fields, layer, where, err);
    }
    return rc;
}

static int read_lower(json_object *disk, const char *disk_where,
                      struct bm_job_disk *into, struct bm_error *err)
{
    json_object *array;
    char where[64];
    size_t n;
    int rc = member(disk, disk_where, "lower", json_type_array, &array, err);

    if (rc < 0)
        return rc;
    n = json_object_array_length(array);
    into->lower = calloc(n ? n : 1, sizeof *into->lower);
    if (!into->lower)
        return no_memory(err);
    while (into->n_lower < n && rc == 0) {
        struct bm_job_layer *layer = &into->lower[into->n_lower];

        snprintf(where, sizeof where, "%slower[%zu].", disk_where,
                 into->n_lower);
        rc = read_fields(json_object_array_get_idx(array, into->n_lower++),
                         bm_lower_fields, layer, where, err);
    }
    return rc;
}

/* What the rest of the program counts on when it goes down the chains. */
static int check_layers(const struct bm_job_disk *disk, const char *where,
                        struct bm_error *err)
{
    if (disk->below < 0 || (size_t)disk->below >= disk->dest.n ||
        disk->n_lower > (size_t)disk->below)
        return bad(err, where, "below", "does not fit dest and lower");
    if (disk->fronts < 0 ||
        (size_t)disk->fronts + disk->n_lower >= disk->source.n)
        return bad(err, where, "fronts", "does not fit source and lower");
    return 0;
}

static int read_disk(json_object *object, size_t i, struct bm_job_disk *disk,
                     struct bm_error *err)
{
    char where[32];
    int rc;

    snprintf(where, sizeof where, "disks[%zu].", i);
    rc = read_fields(object, bm_disk_fields, disk, where, err);
    if (rc == 0)
        rc = read_chain(object, where, "source", &disk->source, err);
    if (rc == 0)
        rc = read_chain(object, where, "dest", &disk->dest, err);
    if (rc == 0)
        rc = read_lower(object, where, disk, err);
    return rc || (!disk->below && !disk->n_lower)
               ? rc
               : check_layers(disk, where, err);
}

static int read_disks(json_object *root, struct bm_job *job,
                      struct bm_error *err)
{
    json_object *array;
    int rc = member(root, "", "disks", json_type_array, &array, err);
    size_t n;

    if (rc < 0)
        return rc;
    n = json_object_array_length(array);
    job->disks = calloc(n ? n : 1, sizeof *job->disks);
    if (!job->disks)
        return no_memory(err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        job->n_disks = i + 1;
        rc = read_disk(json_object_array_get_idx(array, i), i, &job->disks[i],
                       err);
    }
    return rc;
}

/* --- a snapshot command --- */

static int read_merge(json_object *object, size_t i, struct bm_job_merge *merge,
                      struct bm_error *err)
{
    char where[48];
    int rc;

    snprintf(where, sizeof where, "snapshot.merges[%zu].", i);
    rc = read_fields(object, bm_merge_fields, merge, where, err);
    if (rc == 0)
        rc = read_chain(object, where, "layers", &merge->layers, err);
    if (rc == 0)
        rc = read_chain(object, where, "children", &merge->children, err);
    return rc == 0 && merge->layers.n == 0
               ? bad(err, where, "layers", "is empty")
               : rc;
}

static int read_merges(json_object *object, struct bm_job_snapshot *into,
                       struct bm_error *err)
{
    json_object *array;
    int rc =
        member(object, "snapshot.", "merges", json_type_array, &array, err);
    size_t n = rc < 0 ? 0 : json_object_array_length(array);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct bm_job_merge *merge = bm_job_snapshot_add_merge(into);

        rc = merge ? read_merge(json_object_array_get_idx(array, i), i, merge,
                                err)
                   : no_memory(err);
    }
    return rc;
}

static int read_points(json_object *object, struct bm_job_snapshot *into,
                       struct bm_error *err)
{
    json_object *array;
    int rc =
        member(object, "snapshot.", "points", json_type_array, &array, err);
    size_t n = rc < 0 ? 0 : json_object_array_length(array);

    into->points = calloc(n ? n : 1, sizeof *into->points);
    if (!into->points)
        return no_memory(err);
    while (rc == 0 && into->n_points < n) {
        size_t i = into->n_points++;

        rc = read_fields(json_object_array_get_idx(array, i), bm_point_fields,
                         &into->points[i], "snapshot.points.", err);
    }
    return rc;
}

/* A move has none. */
static int read_snapshot(json_object *root, struct bm_job *job,
                         struct bm_error *err)
{
    json_object *object;
    int rc;

    if (!json_object_object_get_ex(root, "snapshot", &object))
        return 0;
    if (!json_object_is_type(object, json_type_object))
        return bad(err, "", "snapshot", "has a wrong type");
    job->snapshot = calloc(1, sizeof *job->snapshot);
    if (!job->snapshot)
        return no_memory(err);
    rc = read_fields(object, bm_snapshot_fields, job->snapshot, "snapshot.",
                     err);
    if (rc == 0)
        rc = read_merges(object, job->snapshot, err);
    return rc ? rc : read_points(object, job->snapshot, err);
}

static int read_job(json_object *root, struct bm_job *job, struct bm_error *err)
{
    json_object *version;
    int rc = member(root, "", "version", json_type_int, &version, err);

    if (rc < 0)
        return rc;
    if (json_object_get_int64(version) != BM_JOURNAL_VERSION) {
        bad(err, "", "version", "is not one this blockmig knows");
        bm_remedy(err, "use the blockmig that wrote it, or a newer one");
        return -EBADMSG;
    }
    rc = read_fields(root, bm_job_fields, job, "", err);
    if (rc == 0 && !bm_job_id_valid(job->id))
        rc = bad(err, "", "id", "is not eight hex digits");
    if (rc == 0)
        rc = read_disks(root, job, err);
    if (rc == 0)
        rc = read_snapshot(root, job, err);
    if (rc == 0 && job->strategy >= BM_STRATEGY_MERGE && !job->snapshot)
        rc = bad(err, "", "snapshot", "does not fit strategy");
    return rc;
}

/* The one value of the text; STRICT refuses what follows it. */
static json_object *parse(const char *text)
{
    struct json_tokener *tokener = json_tokener_new();
    size_t len = strlen(text) + 1;
    json_object *root;

    if (!tokener || len > INT_MAX) {
        if (tokener)
            json_tokener_free(tokener);
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    root = json_tokener_parse_ex(tokener, text, (int)len);
    if (json_tokener_get_error(tokener) != json_tokener_success) {
        json_object_put(root);
        root = NULL;
    }
    json_tokener_free(tokener);
    return root;
}

int bm_job_from_json(const char *text, struct bm_job **out,
                     struct bm_error *err)
{
    BM_JSON json_object *root = parse(text);
    struct bm_job *job;
    int rc;

    if (!json_object_is_type(root, json_type_object)) {
        bm_fail(err, EBADMSG, "cannot read a job's journal");
        bm_cause(err, "it is not a JSON object");
        return -EBADMSG;
    }
    job = calloc(1, sizeof *job);
    if (!job)
        return no_memory(err);
    rc = read_job(root, job, err);
    if (rc < 0) {
        bm_job_free(job);
        return rc;
    }
    *out = job;
    return 0;
}
