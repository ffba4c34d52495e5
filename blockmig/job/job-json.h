// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The journal's fields. One table serves both ways (job-json.c writes,
 * job-json-read.c reads), so that what is written is what is read; a new
 * field of struct bm_job is one line in job-json.c, and a new format
 * (job-format.h).
 */
#ifndef BM_JOB_JOB_JSON_H
#define BM_JOB_JOB_JSON_H

#include "blockmig/job/job.h"

#include <json-c/json.h>

enum bm_field_kind {
    BM_FIELD_TEXT,  /* char *, may be null */
    BM_FIELD_NAME,  /* char *, never null */
    BM_FIELD_ARRAY, /* char[size] */
    BM_FIELD_BOOL,
    BM_FIELD_U64,
    BM_FIELD_I64,
    BM_FIELD_INT,
    BM_FIELD_REAL,
    BM_FIELD_STATE,
    BM_FIELD_STRATEGY,
    BM_FIELD_SOURCE, /* enum bm_source_type */
    BM_FIELD_PROOF,  /* enum bm_merge_proof */
};

struct bm_field {
    const char *name;
    enum bm_field_kind kind;
    size_t offset, size;
};

/* Each ends with a field without a name. */
extern const struct bm_field bm_job_fields[], bm_disk_fields[];
extern const struct bm_field bm_chain_fields[], bm_layer_fields[];
extern const struct bm_field bm_lower_fields[];
extern const struct bm_field bm_snapshot_fields[], bm_merge_fields[];
extern const struct bm_field bm_job_point_fields[];

/* job-json-fields.c: all return 0, -EBADMSG or -ENOMEM. where: the path of the
 * object, for errors. */
int bm_json_bad(struct bm_error *err, const char *where, const char *name,
                const char *problem);
int bm_json_no_memory(struct bm_error *err);
/* The document that is the whole text, an object. Caller puts it. */
int bm_json_parse(const char *text, json_object **out, struct bm_error *err);
/* The document as it stands in the journal. Caller frees; NULL: out of
 * memory. */
char *bm_json_text(json_object *root);
/* The member of that name and type; null has type null. */
int bm_json_member(json_object *object, const char *where, const char *name,
                   json_type type, json_object **out, struct bm_error *err);
/* All fields of the table, into the struct at base, which owns its strings also
 * after an error. */
int bm_json_read(json_object *object, const struct bm_field *fields, void *base,
                 const char *where, struct bm_error *err);

static inline void bm_cleanup_json(json_object **object)
{
    json_object_put(*object);
}
#define BM_JSON __attribute__((cleanup(bm_cleanup_json)))

#endif
