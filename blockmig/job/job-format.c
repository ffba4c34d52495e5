// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job-format.h"

#include "blockmig/job/job-json.h"

#include <errno.h>
#include <string.h>

/* From one format to the next; root is the document. 0 or a negative errno. */
typedef int upgrade(json_object *root, struct bm_error *err);

static int from_1(json_object *root, struct bm_error *err)
{
    json_object *version;
    int rc = bm_json_member(root, "", "version", json_type_int, &version, err);

    if (rc < 0)
        return rc;
    if (json_object_get_int64(version) != 3)
        return bm_json_bad(err, "", "version", "is not 3");
    json_object_object_del(root, "version");
    return 0;
}

/* By the format that it reads. */
static upgrade *const upgrades[BM_JOB_FORMAT] = {
    [1] = from_1,
};

static int newer(int64_t format, struct bm_error *err)
{
    bm_cause(err,
             "a newer blockmig wrote it, in format %lld; this one knows "
             "no format above %d",
             (long long)format, BM_JOB_FORMAT);
    bm_remedy(err, "nothing was changed; use that newer blockmig, or give "
                   "another directory with --state PATH");
    return bm_status(err, BM_EXIT_REFUSED), -EPROTO;
}

int bm_job_format_check(int64_t format, const char *where, struct bm_error *err)
{
    if (format >= 1 && format <= BM_JOB_FORMAT)
        return 0;
    bm_fail(err, EPROTO, "cannot use the job store %s", where);
    if (format > BM_JOB_FORMAT)
        return newer(format, err);
    bm_cause(err, "its format number is %lld, which none ever had",
             (long long)format);
    bm_remedy(err, "nothing was changed; restore the file from a backup, or "
                   "give another directory with --state PATH");
    return bm_status(err, BM_EXIT_REFUSED), -EPROTO;
}

int bm_job_format_upgrade(const char *text, int64_t format, char **out,
                          struct bm_error *err)
{
    BM_JSON json_object *root = NULL;
    int rc = bm_json_parse(text, &root, err);

    for (int64_t f = format; rc == 0 && f < BM_JOB_FORMAT; f++)
        rc = upgrades[f](root, err);
    if (rc < 0)
        return rc;
    *out = bm_json_text(root);
    return *out ? 0 : bm_json_no_memory(err);
}
