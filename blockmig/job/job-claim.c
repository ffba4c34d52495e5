// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job-claim.h"

#include "nbd/base/cleanup.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define KEYS_A_DISK 5 /* the disk; path and inode of source and of target */

static int add(struct bm_claims *claims, const char *disk, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int add(struct bm_claims *claims, const char *disk, const char *fmt, ...)
{
    struct bm_claim *claim = &claims->claims[claims->n];
    va_list ap;
    int len;

    va_start(ap, fmt);
    len = vasprintf(&claim->key, fmt, ap);
    va_end(ap);
    if (len < 0)
        return -ENOMEM;
    claim->disk = disk;
    claims->n++;
    return 0;
}

/* The real path of a file that may not exist yet: its folder's, then. */
static char *real_path(const char *path)
{
    const char *slash = strrchr(path, '/');
    BM_FREE char *folder = NULL;
    BM_FREE char *real = NULL;
    char *whole = realpath(path, NULL);

    if (whole)
        return whole;
    folder = !slash          ? strdup(".")
             : slash == path ? strdup("/")
                             : strndup(path, (size_t)(slash - path));
    real = folder ? realpath(folder, NULL) : NULL;
    if (!real)
        return strdup(path);
    if (asprintf(&whole, "%s/%s", strcmp(real, "/") == 0 ? "" : real,
                 slash ? slash + 1 : path) < 0)
        return NULL;
    return whole;
}

/* Both names of an image: hard links and bind mounts share only the inode,
 * and a target has no inode yet. */
static int add_image(struct bm_claims *claims, const char *disk,
                     const struct bm_chain *chain)
{
    const struct bm_layer *top = chain->n ? &chain->layers[0] : NULL;
    BM_FREE char *real = NULL;
    struct stat st;
    int rc;

    if (!top || !top->path ||
        (top->type != BM_SOURCE_FILE && top->type != BM_SOURCE_BLOCK))
        return 0;
    real = real_path(top->path);
    if (!real)
        return -ENOMEM;
    rc = add(claims, disk, "path:%s", real);
    if (rc < 0 || stat(top->path, &st) < 0)
        return rc;
    if (S_ISBLK(st.st_mode))
        return add(claims, disk, "block:%u:%u", major(st.st_rdev),
                   minor(st.st_rdev));
    return add(claims, disk, "file:%ju:%ju", (uintmax_t)st.st_dev,
               (uintmax_t)st.st_ino);
}

int bm_job_claims(const struct bm_job *job, struct bm_claims *out)
{
    int rc = 0;

    out->n = 0;
    out->claims = calloc(job->n_disks * KEYS_A_DISK + 1, sizeof *out->claims);
    if (!out->claims)
        return -ENOMEM;
    for (size_t i = 0; i < job->n_disks && rc == 0; i++) {
        const struct bm_job_disk *disk = &job->disks[i];

        rc = add(out, disk->target, "%s/%s", job->uuid, disk->target);
        if (rc == 0)
            rc = add_image(out, disk->target, &disk->source);
        if (rc == 0)
            rc = add_image(out, disk->target, &disk->dest);
    }
    if (rc < 0)
        bm_claims_clear(out);
    return rc;
}

void bm_claims_clear(struct bm_claims *claims)
{
    for (size_t i = 0; i < claims->n; i++)
        free(claims->claims[i].key);
    free(claims->claims);
    claims->claims = NULL;
    claims->n = 0;
}
