// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The names of new images.
 */
#include "blockmig/plan/move-plan-chain.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-chain.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char *extension(const char *format)
{
    return !strcmp(format, "qcow2") ? ".qcow2" : ".raw";
}

/* The length of a name without an image's extension. */
static size_t stem(const char *name)
{
    static const char *const known[] = {".raw", ".img",  ".qcow2", ".qcow",
                                        ".qed", ".vmdk", ".vdi"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && i < sizeof known / sizeof known[0]; i++)
        if (!strcasecmp(dot, known[i]))
            return (size_t)(dot - name);
    return strlen(name);
}

static bool taken(const struct bm_job *job, size_t upto, const char *path)
{
    for (size_t i = 0; i <= upto; i++)
        for (size_t l = 0; l < job->disks[i].dest.n; l++)
            if (!strcmp(job->disks[i].dest.layers[l].path, path))
                return true;
    return access(path, F_OK) == 0;
}

/* The old layer's base name, extension by format. Caller frees. */
static char *name_from_source(const struct bm_layer *old, const char *format)
{
    const char *slash = old->path ? strrchr(old->path, '/') : NULL;
    const char *name = slash ? slash + 1 : old->path ? old->path : "disk";
    bool same = old->format && !strcmp(old->format, format);
    size_t n = stem(name);
    char *made;

    if (same && n < strlen(name))
        return strdup(name);
    return asprintf(&made, "%.*s%s", (int)n, name, extension(format)) < 0
               ? NULL
               : made;
}

/* DOMAIN-vda.qcow2, and for the layers below DOMAIN-vda.1.qcow2 and on. */
static char *name_from_domain(const struct bm_job *job, size_t i, size_t k,
                              const char *folder, const char *format)
{
    char number[24] = "", *path;

    if (k)
        snprintf(number, sizeof number, ".%zu", k);
    return asprintf(&path, "%s/%s-%s%s%s", folder, job->domain,
                    job->disks[i].target, number, extension(format)) < 0
               ? NULL
               : path;
}

char *bm_plan_name(const struct bm_job *job, size_t i, size_t k,
                   const char *folder, const char *given, const char *format)
{
    BM_FREE char *name =
        given ? strdup(given)
              : name_from_source(bm_job_old(&job->disks[i], k), format);
    char *path;

    if (!name || asprintf(&path, "%s/%s", folder, name) < 0)
        return NULL;
    if (given || !taken(job, i, path))
        return path;
    free(path);
    return name_from_domain(job, i, k, folder, format);
}
