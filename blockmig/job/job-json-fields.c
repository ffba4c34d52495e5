// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Fields of the journal by their tables, from JSON.
 */
#include "blockmig/job/job-json.h"

#include "nbd/base/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int bm_json_bad(struct bm_error *err, const char *where, const char *name,
                const char *problem)
{
    bm_fail(err, EBADMSG, "cannot read a job's journal");
    bm_cause(err, "field %s%s %s", where, name, problem);
    return -EBADMSG;
}

int bm_json_no_memory(struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot read a job's journal");
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

int bm_json_parse(const char *text, json_object **out, struct bm_error *err)
{
    BM_JSON json_object *root = parse(text);

    if (!json_object_is_type(root, json_type_object)) {
        bm_fail(err, EBADMSG, "cannot read a job's journal");
        bm_cause(err, "it is not a JSON object");
        return -EBADMSG;
    }
    *out = BM_STEAL(root);
    return 0;
}

int bm_json_member(json_object *object, const char *where, const char *name,
                   json_type type, json_object **out, struct bm_error *err)
{
    if (!json_object_object_get_ex(object, name, out))
        return bm_json_bad(err, where, name, "is missing");
    if (!json_object_is_type(*out, type))
        return bm_json_bad(err, where, name, "has a wrong type");
    return 0;
}

static int read_text(const struct bm_field *f, json_object *value, void *at,
                     const char *where, struct bm_error *err)
{
    if (!value && f->kind == BM_FIELD_TEXT)
        return 0;
    if (!json_object_is_type(value, json_type_string))
        return bm_json_bad(err, where, f->name, "is not a string");
    *(char **)at = strdup(json_object_get_string(value));
    return *(char **)at ? 0 : bm_json_no_memory(err);
}

static int read_array(const struct bm_field *f, json_object *value, void *at,
                      const char *where, struct bm_error *err)
{
    if (!json_object_is_type(value, json_type_string))
        return bm_json_bad(err, where, f->name, "is not a string");
    if (strlen(json_object_get_string(value)) >= f->size)
        return bm_json_bad(err, where, f->name, "is too long");
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
        return bm_json_bad(err, where, f->name, "is not a whole number");
    number = json_object_get_int64(value);
    if (f->kind == BM_FIELD_U64) {
        if (number < 0)
            return bm_json_bad(err, where, f->name, "is negative");
        *(uint64_t *)at = json_object_get_uint64(value);
    } else if (f->kind == BM_FIELD_I64) {
        *(int64_t *)at = number;
    } else {
        if (number < INT_MIN || number > INT_MAX)
            return bm_json_bad(err, where, f->name, "is out of range");
        *(int *)at = (int)number;
    }
    return 0;
}

static int read_real(const struct bm_field *f, json_object *value, void *at,
                     const char *where, struct bm_error *err)
{
    if (!json_object_is_type(value, json_type_double) &&
        !json_object_is_type(value, json_type_int))
        return bm_json_bad(err, where, f->name, "is not a number");
    *(double *)at = json_object_get_double(value);
    return isfinite(*(double *)at)
               ? 0
               : bm_json_bad(err, where, f->name, "is not finite");
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
        return bm_json_bad(err, where, f->name, "is not a string");
    word = json_object_get_string(value);
    if (f->kind == BM_FIELD_STATE)
        rc = bm_state_from_name(word, at);
    else if (f->kind == BM_FIELD_STRATEGY)
        rc = strategy_from_name(word, at);
    else if (f->kind == BM_FIELD_PROOF)
        rc = proof_from_name(word, at);
    else
        rc = source_type(word, at);
    return rc < 0 ? bm_json_bad(err, where, f->name, "is not a known word") : 0;
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
        return bm_json_bad(err, where, f->name, "is not true or false");
    *(bool *)at = json_object_get_boolean(value);
    return 0;
}

int bm_json_read(json_object *object, const struct bm_field *fields, void *base,
                 const char *where, struct bm_error *err)
{
    json_object *value;

    for (const struct bm_field *f = fields; f->name; f++) {
        int rc;

        if (!json_object_object_get_ex(object, f->name, &value))
            return bm_json_bad(err, where, f->name, "is missing");
        rc = read_field(f, value, (char *)base + f->offset, where, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}
